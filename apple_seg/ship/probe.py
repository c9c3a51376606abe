"""A small input that a perturber file carries, and what host and perturbers made of it."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from apple_seg.errors import HostMismatchError
from apple_seg.host import Example, PerturbedSegmentor

_COARSE = 16
_TOLERANCE = 1e-3


class Probe(NamedTuple):
    """Coarse noise and coarse answers: they are stored, so they are small."""

    images: Tensor
    """(1, C, *coarse), no more than 16 cells a side; enlarged to the example's size to be run."""

    deployed: Tensor
    """Pooled logits (1, K, *coarse) of the host as deployed."""

    perturbed: Tensor
    """The same with its perturbers."""


def take_probe(segmentor: PerturbedSegmentor, example: Example) -> Probe:
    """Run new coarse noise through host and perturbers."""
    cells = [min(_COARSE, size) for size in example.shape[2:]]
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(1, example.shape[1], *cells, generator=draw)
    return run_probe(segmentor, example, images)


def run_probe(segmentor: PerturbedSegmentor, example: Example, images: Tensor) -> Probe:
    """Run stored coarse noise through host and perturbers."""
    weights = next(segmentor.host.parameters())
    spread = enlarge(images, example.shape).to(weights)
    prompts = {name: value.to(weights) for name, value in example.prompts.items()}
    perturbed = segmentor.predict(spread, **prompts)
    with segmentor.disabled():
        deployed = segmentor.predict(spread, **prompts)
    return Probe(images, _pool(deployed), _pool(perturbed))


def compare_probes(here: Probe, stored: Probe, name: str) -> None:
    """Check that the outputs are the stored ones, within 0.1 % of their scale.

    Compared and not hashed: thread counts and processors change last bits.

    Raises:
        HostMismatchError: They are not.
    """
    pairs: Mapping[str, tuple[Tensor, Tensor]] = {
        "as deployed": (here.deployed, stored.deployed),
        "perturbed": (here.perturbed, stored.perturbed),
    }
    for state, (found, expected) in pairs.items():
        scale = float(expected.abs().max().clamp_min(1.0))
        off = float((found - expected).abs().max()) / scale
        if not off <= _TOLERANCE:
            raise HostMismatchError(
                f"the host's output {state} on the probe of {name} is off by {off:.2g} of its "
                f"scale, more than {_TOLERANCE}: the weights are the same, the code is not"
            )


def enlarge(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Bring coarse noise to the spatial size of `shape`."""
    return functional.interpolate(images, tuple(shape[2:]), mode="nearest")


def _pool(logits: Tensor) -> Tensor:
    pools = {3: functional.adaptive_avg_pool1d, 4: functional.adaptive_avg_pool2d}
    pool = pools.get(logits.ndim, functional.adaptive_avg_pool3d)
    cells = [min(_COARSE, size) for size in logits.shape[2:]]
    return pool(logits.float().cpu(), cells).contiguous()  # type: ignore[arg-type]
