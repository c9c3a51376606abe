"""Who counts how much: the losses of a batch's cases as one number."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from apple_seg.perturb.objectives.objective import Weighting
from apple_seg.perturb.objectives.outcome import Outcome


def equal(_counts: Sequence[int]) -> Weighting:
    """Count every case alike."""

    def mean(losses: Tensor, _outcome: Outcome) -> Tensor:
        return losses.mean()

    return mean


WEIGHTINGS: Mapping[str, Callable[..., Weighting]] = {"equal": equal}
"""The weightings that a file may name. Each is made from the number of cases of each group that are
fitted on, in the order of `Outcome.members`, with its options as keywords."""
