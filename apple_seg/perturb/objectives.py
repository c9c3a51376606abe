"""What a perturber is trained to do: functions of one batch's outcome to named loss terms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from apple_seg.perturb.discriminator import Discriminator, pool

UNKNOWN = -1
"""As `apple_seg.data` has it; said anew, since `attach` comes by here and must not need pandas."""


@dataclass(frozen=True)
class Outcome:
    """What one batch gave."""

    logits: Tensor
    """(N, K', *grid), every channel of the host."""

    masks: Tensor
    """(N, K, *grid), 0 or 1, a plane a class."""

    latents: tuple[Tensor, ...]
    """A site each, (N, C, *cells), perturbed."""

    groups: Tensor
    """(N,) codes, -1 where unknown."""

    gather: Callable[[Tensor], Tensor] = lambda rows: rows
    """Rows (N, ...) to those of all processes, by rank; a gradient reaches one's own."""

    @cached_property
    def known(self) -> tuple[Tensor, Tensor]:
        """Pooled latents and groups of the whole batch, without cases of unknown group."""
        groups = self.gather(self.groups)
        known = groups != UNKNOWN
        return self.gather(pool(self.latents))[known], groups[known]


class Objective(Protocol):
    """Loss terms of one batch, and players of its own that learn beside the perturber.

    The batch may be spread over processes. Each of them returns the terms of the whole batch, made
    from what `Outcome.gather` brings together; the trainer adds up the gradients of all.
    """

    def to(self, device: torch.device) -> None:
        """Move the objective's own players."""

    def observe(self, outcome: Outcome) -> dict[str, float]:
        """Let the objective's own players learn from detached latents; return their losses."""

    def __call__(self, outcome: Outcome) -> dict[str, Tensor]:
        """Return weighted loss terms by name; their sum is what the perturber minimises."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed fit needs of the players."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""


class SegmentationObjective:
    """Dice loss plus cross-entropy against the true masks (MONAI's Dice, torch's cross-entropy)."""

    def __init__(self, *, activation: str, channels: Sequence[int], background: int = 0) -> None:
        self.activation = activation
        self.background = background
        self.channels = list(channels)

    def to(self, device: torch.device) -> None:
        """Nothing is to be moved."""

    def observe(self, outcome: Outcome) -> dict[str, float]:
        """Nothing else learns here."""
        return {}

    def __call__(self, outcome: Outcome) -> dict[str, Tensor]:
        """Return the mean loss over the batch."""
        losses = self.per_case(outcome.logits, outcome.masks)
        return {"segmentation": outcome.gather(losses).mean()}

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: nothing else learns here."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing is to be taken up."""

    def per_case(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Return the loss of each case (N,) from logits (N, K', *grid) and masks (N, K, *grid)."""
        if self.activation == "softmax":
            return self._softmax(logits, masks)
        chosen = logits[:, self.channels]
        entropy = functional.binary_cross_entropy_with_logits(chosen, masks, reduction="none")
        return entropy.flatten(1).mean(1) + _dice(chosen.sigmoid(), masks)

    def _softmax(self, logits: Tensor, masks: Tensor) -> Tensor:
        target = torch.full_like(masks[:, 0], self.background, dtype=torch.long)
        for place, channel in enumerate(self.channels):
            target[masks[:, place] > 0] = channel
        entropy = functional.cross_entropy(logits, target, reduction="none").flatten(1).mean(1)
        return entropy + _dice(logits.softmax(1)[:, self.channels], masks)


class AdversarialObjective:
    """APPLE's fairness loss: the discriminator is to be wrong, and unsure (Xu et al. 2024).

    By its parent FAAP (Wang et al., CVPR 2022): `-CE(D(f_p), a) - entropy_weight * H(D(f_p))`.
    The entropy keeps the perturber from merely swapping the groups' looks, which a discriminator
    could swap back. The discriminator takes one step on detached latents before each step of the
    perturber. Cases of unknown group count for neither.
    """

    def __init__(
        self,
        discriminator: Discriminator,
        *,
        weight: float = 0.1,
        entropy_weight: float = 0.1,
        learning_rate: float = 1e-3,
    ) -> None:
        self.discriminator = discriminator
        self.weight = weight
        self.entropy_weight = entropy_weight
        self.optimizer = torch.optim.Adam(discriminator.parameters(), learning_rate)

    def to(self, device: torch.device) -> None:
        """Move the discriminator."""
        self.discriminator.to(device)

    def observe(self, outcome: Outcome) -> dict[str, float]:
        """Take one step of the discriminator on what the perturber gives now."""
        pooled, groups = outcome.known
        if len(groups) < 2:
            return {}
        guesses = self.discriminator(pooled.detach())
        loss = functional.cross_entropy(guesses, groups)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        right = (guesses.argmax(1) == groups).float().mean()
        return {"discriminator": loss.item(), "discriminator_accuracy": right.item()}

    def __call__(self, outcome: Outcome) -> dict[str, Tensor]:
        """Return the weighted fairness loss; a batch with fewer than two known cases has none."""
        pooled, groups = outcome.known
        if len(groups) < 2:
            return {}
        guesses = self.discriminator(pooled)
        loss = fairness_loss(guesses, groups, entropy_weight=self.entropy_weight)
        return {"fairness": self.weight * loss}

    def state_dict(self) -> dict[str, Any]:
        """Return the discriminator and its optimiser."""
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a discriminator and its optimiser."""
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])


class SumOfObjectives:
    """Several objectives as one; their terms have different names."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self.objectives = list(objectives)

    def to(self, device: torch.device) -> None:
        """Move every objective's players."""
        for one in self.objectives:
            one.to(device)

    def observe(self, outcome: Outcome) -> dict[str, float]:
        """Let every objective's players learn."""
        return {k: v for one in self.objectives for k, v in one.observe(outcome).items()}

    def __call__(self, outcome: Outcome) -> dict[str, Tensor]:
        """Return the terms of all."""
        return {k: v for one in self.objectives for k, v in one(outcome).items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all, by place."""
        return {str(place): one.state_dict() for place, one in enumerate(self.objectives)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the states of all."""
        for place, one in enumerate(self.objectives):
            one.load_state_dict(state[str(place)])


def fairness_loss(guesses: Tensor, groups: Tensor, *, entropy_weight: float) -> Tensor:
    """Return `-CE - entropy_weight * H` of guesses (N, A) at groups (N,), a mean over cases."""
    log_p = guesses.log_softmax(-1)
    entropy = -(log_p.exp() * log_p).sum(-1).mean()
    return -functional.cross_entropy(guesses, groups) - entropy_weight * entropy


def _dice(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Return the Dice loss of each case (N,), averaged over classes."""
    from monai.losses.dice import DiceLoss

    loss: Tensor = DiceLoss(reduction="none")(probabilities, masks)
    return loss.flatten(1).mean(1)
