"""What the host says already is to be kept."""

from collections.abc import Sequence

from torch import Tensor

from apple_seg.perturb.objectives.objective import Term
from apple_seg.perturb.objectives.outcome import Outcome


def preserve(_channels: Sequence[int], _sizes: Sequence[int], _numbers: int = 0) -> Term:
    """Hold the perturbed masks near the host's own, whatever the true masks say.

    The mean over cases of `SegmentationLoss.agreement`: Dice and cross-entropy against the host's
    own probabilities. With few cases it keeps perturbers from learning them by heart, as learning
    without forgetting does for tasks (Li and Hoiem, arXiv 1606.09282). Needs no attribute. Each
    step runs what comes after the frontier once more, without gradients.
    """

    def mean(outcome: Outcome) -> Tensor:
        return outcome.agreement.mean()

    return mean
