"""What validation says of the perturbers as they are."""

import numpy as np
from numpy.typing import NDArray

from apple_seg.data import Groups
from apple_seg.errors import FitError
from apple_seg.measure import score
from apple_seg.perturb.feeds import Feed
from apple_seg.perturb.selection import Candidate
from apple_seg.processes import Processes


def validate(
    feed: Feed,
    groups: Groups,
    epoch: int,
    *,
    batch_size: int,
    processes: Processes,
    progress: bool,
) -> Candidate:
    """Return mean Dice, overall and by group.

    Raises:
        FitError: A group has no Dice at all: its masks and the predictions are empty.
    """
    cohort = feed.validation
    table = score(
        feed.predict,
        cohort,
        metrics=("dice",),
        batch_size=batch_size,
        progress=progress,
        description="validation" if epoch else "validation of the host",
        processes=processes,
    )
    per_case = table.groupby("case")["dice"].mean().reindex(cohort.table["case"])
    dice = per_case.to_numpy()
    codes = groups.codes(cohort.table)
    by_group = {label: _mean(dice[codes == code]) for code, label in enumerate(groups.labels)}
    if lost := [label for label, mean in by_group.items() if not np.isfinite(mean)]:
        raise FitError(
            f"no Dice for any validation case of {', '.join(map(repr, lost))}: their masks are "
            "empty, and so are the predictions"
        )
    return Candidate(epoch, _mean(dice), by_group)


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of what is a number; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
