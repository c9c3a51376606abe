"""What validation says of the perturbers as they are."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apple_seg.data import Cohort, Groups
from apple_seg.errors import FitError, HostError
from apple_seg.measure import score
from apple_seg.perturb.feeds import Feed
from apple_seg.perturb.selection import Candidate
from apple_seg.perturb.task import FitTask
from apple_seg.processes import Processes

TAIL = 0.2
"""The share of the cases that fare worst."""


def validate(
    feed: Feed, task: FitTask, epoch: int, *, processes: Processes, progress: bool
) -> Candidate:
    """Return mean Dice: overall, by group, and of the fifth of the cases that fare worst.

    Raises:
        FitError: A group has no Dice at all: its masks and the predictions are empty. Or the
            perturbers have diverged.
        HostError: The host itself returns what is not a number.
    """
    cohort = feed.validation
    try:
        table = score(
            feed.predict,
            cohort,
            metrics=("dice",),
            batch_size=task.settings.batch_size,
            progress=progress,
            description="validation" if epoch else "validation of the host",
            processes=processes,
        )
    except HostError:
        if not epoch:
            raise
        raise FitError(
            f"after epoch {epoch} what the perturbed host returns is not finite any more; lower "
            "[fit] learning_rate"
        ) from None
    return candidate_of(table, cohort, task.attributes.groups[:1], epoch)


def candidate_of(
    scores: pd.DataFrame, cohort: Cohort, attributes: Sequence[Groups], epoch: int
) -> Candidate:
    """Return what scores say: overall, by the groups of one attribute if any, and of the tail.

    Raises:
        FitError: A group has no Dice at all.
    """
    per_case = scores.groupby("case")["dice"].mean().reindex(cohort.table["case"])
    dice = per_case.to_numpy()
    by_group = {}
    for groups in attributes:
        codes = groups.codes(cohort.table)
        by_group = {label: _mean(dice[codes == code]) for code, label in enumerate(groups.labels)}
    if lost := [label for label, mean in by_group.items() if not np.isfinite(mean)]:
        raise FitError(
            f"no Dice for any validation case of {', '.join(map(repr, lost))}: their masks are "
            "empty, and so are the predictions"
        )
    known = np.sort(dice[np.isfinite(dice)])
    return Candidate(epoch, _mean(dice), by_group, _mean(known[: max(1, round(TAIL * len(known)))]))


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of what is a number; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
