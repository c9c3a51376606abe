"""Which epoch's perturbers are kept: a named rule, applied on validation only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """The perturbers after one epoch, as validation saw them; epoch 0 is the identity."""

    epoch: int
    overall: float
    by_group: Mapping[str, float]
    """Mean Dice of each group; none where no attribute is known."""

    tail: float = float("nan")
    """Mean Dice of the fifth of the cases that fare worst, whoever they are."""

    @property
    def group_min(self) -> float:
        """Mean Dice of the group served worst; without groups, of the cases that fare worst."""
        return min(self.by_group.values(), default=self.tail)

    @property
    def difference(self) -> float:
        """Largest minus smallest group mean; for orientation, the audit has the signed one."""
        values = [*self.by_group.values()] or [0.0]
        return max(values) - min(values)


Rule = Callable[[Sequence[Candidate]], Candidate]
"""Which of the candidates is kept; the identity is the first."""


@dataclass(frozen=True, kw_only=True)
class Vote:
    """What validation says of answers by the vote of several views."""

    views: tuple[str, ...]
    fitted: Candidate
    """Of the epoch that the rule keeps in one view; of the host, where that is the identity."""

    untouched: Candidate
    """Of the host as deployed: the identity of votes, for which nothing is fitted."""

    candidate: Candidate
    """The one of these two that is kept, or would have been if any were."""

    kept: bool
    """Whether validation prefers it to answers of one view."""


def worst_group(candidates: Sequence[Candidate], margin: float) -> Candidate:
    """Return the highest worst-group Dice such that no group loses more than `margin`.

    What a group loses is measured from the identity, which is always a candidate and comes first:
    where nothing else qualifies, nothing is what you get. Ties go to the higher overall Dice,
    then to the earlier epoch.
    """
    return best_of(_allowed(candidates, margin))


def best_of(candidates: Sequence[Candidate]) -> Candidate:
    """Return the highest worst-group Dice; ties go to the higher overall, then to the earlier."""
    return max(candidates, key=lambda one: (one.group_min, one.overall, -one.epoch))


def latest(candidates: Sequence[Candidate], margin: float) -> Candidate:
    """Return the last epoch at which no group has lost more than `margin`.

    For what Dice does not show: an attribute that is to be erased, at a price with a limit.
    """
    return _allowed(candidates, margin)[-1]


def _allowed(candidates: Sequence[Candidate], margin: float) -> list[Candidate]:
    """Return the candidates whose groups have lost no more; the identity is one."""
    return [one for one in candidates if allowed(one, candidates[0], margin)]


def allowed(candidate: Candidate, identity: Candidate, margin: float) -> bool:
    """Return whether neither a group nor all together have lost more than the margin."""
    return candidate.overall >= identity.overall - margin and all(
        candidate.by_group[group] >= before - margin for group, before in identity.by_group.items()
    )


def better(candidate: Candidate, other: Candidate) -> bool:
    """Return whether the group served worst fares better, or as well and all together better."""
    return (candidate.group_min, candidate.overall) > (other.group_min, other.overall)


RULES: Mapping[str, Callable[[Sequence[Candidate], float], Candidate]] = {
    "worst-group": worst_group,
    "latest": latest,
}
"""The selection rules that settings may name."""
