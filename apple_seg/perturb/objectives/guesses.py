"""What guesses of a sensitive attribute are worth: to who makes them, and to who prevents them."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from apple_seg.perturb.objectives.outcome import Attribute, Outcome


class Truth(NamedTuple):
    """What is to be guessed of a batch, over all processes."""

    rows: Tensor
    """Which cases of the batch (N,) count: some attribute or number is known of them; n do."""

    attributes: list[Attribute]
    """Of the n cases."""

    numbers: Tensor
    """(n, P), standardised; NaN where unknown."""

    @classmethod
    def of(cls, outcome: Outcome, *, numbers: bool) -> "Truth":
        """Read it from a batch."""
        given = outcome.every_number if numbers else outcome.every_number[:, :0]
        rows = torch.stack([one.known for one in outcome.attributes]).any(0)
        rows = rows | given.isfinite().any(1)
        attributes = [Attribute(one.codes[rows], one.groups) for one in outcome.attributes]
        return cls(rows, attributes, given[rows])

    def split(self, guesses: Tensor) -> tuple[list[tuple[Tensor, Attribute]], list[Tensor]]:
        """Part guesses (n, A + P) by attribute, and by number as pairs (guess and truth, n', 2)."""
        sizes = [one.groups for one in self.attributes]
        *logits, values = guesses.split([*sizes, self.numbers.shape[1]], 1)
        pairs = torch.stack([values, self.numbers], 2).unbind(1)
        known = [pair[pair[:, 1].isfinite()] for pair in pairs]
        return list(zip(logits, self.attributes, strict=True)), known


def guessing_loss(guesses: Tensor, truth: Truth) -> Tensor:
    """Return what the discriminator minimises: cross-entropy, and squared error of numbers."""
    attributes, numbers = truth.split(guesses)
    losses = [_cross_entropy(logits, one) for logits, one in attributes]
    losses += [_squared_error(pair) for pair in numbers]
    return torch.stack(losses).sum()


def prevention_loss(guesses: Tensor, truth: Truth, *, entropy: float) -> Tensor:
    """Return what the perturber minimises, summed over attributes and numbers."""
    attributes, numbers = truth.split(guesses)
    losses = [
        fairness_loss(logits[one.known], one.codes[one.known], entropy=entropy)
        for logits, one in attributes
        if one.known.any()
    ]
    losses += [number_loss(*pair.unbind(1), entropy=entropy) for pair in numbers if len(pair) > 1]
    return torch.stack(losses).sum()


def fairness_loss(guesses: Tensor, groups: Tensor, *, entropy: float) -> Tensor:
    """Return `-CE - entropy * H` of guesses (N, A) at groups (N,), a mean over cases."""
    log_p = guesses.log_softmax(-1)
    unsure = -(log_p.exp() * log_p).sum(-1).mean()
    return -functional.cross_entropy(guesses, groups) - entropy * unsure


def number_loss(guesses: Tensor, numbers: Tensor, *, entropy: float) -> Tensor:
    """Return `max(0, Var(y) - MSE) + entropy * Var(guesses)` of guesses (N,) at numbers (N,)."""
    variance, spread = numbers.var(unbiased=False), guesses.var(unbiased=False)
    return (variance - (guesses - numbers).square().mean()).relu() + entropy * spread


def skill(guesses: Tensor, truth: Truth) -> dict[str, float]:
    """Return the accuracy of groups, and the share of the numbers' variance that is explained."""
    attributes, numbers = truth.split(guesses.detach())
    right = [(g.argmax(1) == one.codes)[one.known].float().mean() for g, one in attributes]
    found = {"discriminator_accuracy": torch.stack(right).nanmean().item()}
    explained = [
        1 - (pair[:, 0] - pair[:, 1]).square().mean() / pair[:, 1].var(unbiased=False)
        for pair in numbers
        if len(pair) > 1 and bool(pair[:, 1].var() > 0)
    ]
    if explained:
        found["discriminator_explained"] = torch.stack(explained).mean().item()
    return found


def _cross_entropy(guesses: Tensor, attribute: Attribute) -> Tensor:
    """Return the mean over cases of known group; 0 where there are none."""
    if not attribute.known.any():
        return guesses.sum() * 0
    return functional.cross_entropy(guesses, attribute.codes, ignore_index=-1)


def _squared_error(pair: Tensor) -> Tensor:
    """Return the mean over cases; 0 where there are none."""
    return (pair[:, 0] - pair[:, 1]).square().sum() / max(len(pair), 1)
