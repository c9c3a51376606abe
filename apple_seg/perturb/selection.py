"""Which epoch's perturbers are kept: a named rule, applied on validation only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """The perturbers after one epoch, as validation saw them; epoch 0 is the identity."""

    epoch: int
    overall: float
    by_group: Mapping[str, float]

    @property
    def group_min(self) -> float:
        """Mean Dice of the group served worst."""
        return min(self.by_group.values())

    @property
    def difference(self) -> float:
        """Largest minus smallest group mean; for orientation, the audit has the signed one."""
        return max(self.by_group.values()) - min(self.by_group.values())


def worst_group(candidates: Sequence[Candidate], margin: float) -> Candidate:
    """Return the highest worst-group Dice such that no group loses more than `margin`.

    What a group loses is measured from the identity, which is always a candidate and comes first:
    where nothing else qualifies, nothing is what you get. Ties go to the higher overall Dice,
    then to the earlier epoch.
    """
    identity = candidates[0]
    allowed = [
        candidate
        for candidate in candidates
        if all(
            candidate.by_group[group] >= before - margin
            for group, before in identity.by_group.items()
        )
    ]
    return max(allowed, key=lambda one: (one.group_min, one.overall, -one.epoch))


RULES: Mapping[str, Callable[[Sequence[Candidate], float], Candidate]] = {
    "worst-group": worst_group
}
"""The selection rules that settings may name."""
