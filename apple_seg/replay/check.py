"""Whether replay is right, and whether it pays."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from apple_seg.host import Inputs
from apple_seg.replay.frontier import installed
from apple_seg.replay.playback import Records, Replay

_SPREAD = 0.05
_TOLERANCE = {"host": (1e-3, 1e-2), "half": (1e-2, 5e-2)}
_WORTH = 20.0


@dataclass(frozen=True)
class Deviation:
    """How far a replayed pass is from a full one, with randomised perturbers."""

    outputs: float
    """Largest difference of a logit or of a perturbed latent, as a share of the largest value."""

    gradients: float
    """Largest norm of the difference of a perturber's gradient, as a share of its norm."""

    flipped: float
    """Share of logits whose sign differs."""

    def within(self, precision: str) -> bool:
        """Say whether this is what rounding alone would make.

        That is 0.1 % of an output and 1 % of a gradient; or, by "half", 1 % and 5 %: where latents
        are stored in 16 bits, or the host computes in no more than that.
        """
        outputs, gradients = _TOLERANCE[precision]
        return self.outputs <= outputs and self.gradients <= gradients

    def __str__(self) -> str:
        return (
            f"outputs within {self.outputs:.1g}, gradients within {self.gradients:.1g}, "
            f"{self.flipped:.2%} of the voxels decided otherwise"
        )


def deviation(
    replay: Replay, inputs: Inputs, records: Records, perturbers: Sequence[nn.Module]
) -> Deviation:
    """Compare a replayed pass with a full one: outputs, and the gradient of every perturber.

    New perturbers are the identity, with which even a wrong frontier gives right outputs: the
    comparison is made with randomised copies of them.

    Args:
        replay: The frontier.
        inputs: A few cases, on the host's device.
        records: Of the same cases.
        perturbers: A site each, as they are to be trained; they stay as they are.
    """
    randomised = [_randomised(one, seed) for seed, one in enumerate(perturbers)]
    segmentor = replay.segmentor
    fresh = {name: value.clone() for name, value in records.items()}
    with installed(segmentor, randomised), torch.enable_grad():
        full = segmentor(inputs.images, **inputs.prompts)
        expected = _gradients(full.logits, randomised)
        played = replay.segment(inputs, fresh)
        found = _gradients(played.logits, randomised)
    pairs = [
        (a.detach(), b.detach())
        for a, b in zip((played.logits, *played.latents), (full.logits, *full.latents), strict=True)
    ]
    gradients = [_share((a - b).norm(), b.norm()) for a, b in zip(found, expected, strict=True)]
    return Deviation(
        outputs=max(_share((a - b).abs().max(), b.abs().max()) for a, b in pairs),
        gradients=max(gradients),
        flipped=float(((played.logits > 0) != (full.logits > 0)).float().mean()),
    )


def worth(replay: Replay, inputs: Inputs, records: Records) -> float:
    """Return the floating-point operations that replay saves for each byte that it has to read.

    Counted, not timed: what a fit decides must not hang on how busy the machine is.
    """
    with torch.no_grad():
        with FlopCounterMode(display=False) as full:
            replay.segmentor.predict(inputs.images, **inputs.prompts)
        with FlopCounterMode(display=False) as rest:
            replay.predict(inputs, {name: value.clone() for name, value in records.items()})
    stored = sum(value.numel() * value.element_size() for value in records.values())
    saved: int = full.get_total_flops() - rest.get_total_flops()
    return saved / stored


def pays(saved: float) -> bool:
    """Say whether so many operations a byte are more than reading costs.

    A core does some 20 operations in the time in which it reads a byte from memory.
    """
    return saved >= _WORTH


def _randomised(perturber: nn.Module, seed: int) -> nn.Module:
    made = copy.deepcopy(perturber)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise.to(parameter), alpha=_SPREAD)
            parameter.requires_grad_(True)
    return made


def _gradients(logits: Tensor, perturbers: Sequence[nn.Module]) -> list[Tensor]:
    """Return each perturber's gradient of a fixed random sum of the logits, in one vector."""
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
    parameters = [list(one.parameters()) for one in perturbers]
    flat = [parameter for one in parameters for parameter in one]
    target = (logits.float() * weights.to(logits.device)).sum()
    if not target.requires_grad:  # a fit will say so, in its own words
        return [torch.zeros(sum(p.numel() for p in one)) for one in parameters]
    gradients = iter(torch.autograd.grad(target, flat, allow_unused=True))
    found = []
    for one in parameters:
        pairs = [(parameter, next(gradients)) for parameter in one]
        found.append(
            torch.cat([(p.new_zeros(p.shape) if g is None else g).flatten() for p, g in pairs])
        )
    return found


def _share(part: Tensor, whole: Tensor) -> float:
    """Return `part / whole`; 0 where both are 0, infinity where something is not a number."""
    if not (torch.isfinite(part) and torch.isfinite(whole)):
        return float("inf")
    return 0.0 if part == 0 else float(part / whole)
