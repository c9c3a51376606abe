"""What a perturber is trained to do: a weighted sum of loss terms of one batch."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from apple_seg.perturb.objectives.outcome import Outcome, Target
from apple_seg.perturb.objectives.segmentation import SegmentationLoss

Weighting = Callable[[Tensor, Outcome], Tensor]
"""Losses of all cases of the batch (N,), gathered, to one number: who counts how much."""

Term = Callable[[Outcome], Tensor | None]
"""A further term, of the whole batch; None where the batch has too few cases for it."""


@runtime_checkable
class Player(Protocol):
    """A part that learns beside the perturber: an adversary."""

    def observe(self, outcome: Outcome) -> dict[str, float]:
        """Learn from detached latents; return losses by name."""


@runtime_checkable
class Scheduled(Protocol):
    """A part that changes from epoch to epoch."""

    def end_epoch(self) -> dict[str, float]:
        """Change; return what is worth a line in the log."""


class Objective(nn.Module):
    """The segmentation loss of each case, weighted over cases, plus weighted terms.

    A batch may be spread over processes. Each of them returns the terms of the whole batch, made
    from what `Outcome` brings together; the trainer adds up the gradients of all. Parts that
    remember something are modules, so that a resumed fit finds them in the `state_dict`.
    """

    def __init__(
        self,
        loss: SegmentationLoss,
        weighting: Weighting,
        terms: Mapping[str, tuple[float, Term]],
        *,
        target: Target = "masks",
    ) -> None:
        super().__init__()
        self.loss = loss
        self.weighting = weighting
        self.terms = {name: part for name, (_, part) in terms.items()}
        self.weights = {name: weight for name, (weight, _) in terms.items()}
        self.target = target
        parts: list[object] = [weighting, *self.terms.values()]
        self.remembering = nn.ModuleList(part for part in parts if isinstance(part, nn.Module))

    def forward(self, outcome: Outcome) -> dict[str, Tensor]:
        """Return weighted terms by name; their sum is what the perturber minimises."""
        outcome = self._judged(outcome)
        found = {"segmentation": self.weighting(outcome.losses, outcome)}
        for name, term in self.terms.items():
            value = term(outcome)
            if value is not None:
                found[name] = self.weights[name] * value
        return found

    def observe(self, outcome: Outcome) -> dict[str, float]:
        """Let every player learn."""
        outcome = self._judged(outcome)
        players = (part for part in self.remembering if isinstance(part, Player))
        return {name: value for part in players for name, value in part.observe(outcome).items()}

    def end_epoch(self) -> dict[str, float]:
        """Let what is scheduled change."""
        scheduled = (part for part in self.remembering if isinstance(part, Scheduled))
        return {name: value for part in scheduled for name, value in part.end_epoch().items()}

    def _judged(self, outcome: Outcome) -> Outcome:
        """Return the outcome with this objective's loss; a trainer gives it from the first."""
        if outcome.loss is self.loss and outcome.target == self.target:
            return outcome
        return replace(outcome, loss=self.loss, target=self.target)
