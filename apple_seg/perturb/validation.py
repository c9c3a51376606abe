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
    if not epoch:
        _check_scored(table, cohort, task.attributes.groups[:1])
    return candidate_of(table, cohort, task.attributes.groups[:1], epoch)


def candidate_of(
    scores: pd.DataFrame, cohort: Cohort, attributes: Sequence[Groups], epoch: int
) -> Candidate:
    """Return what scores say: overall, by the groups of one attribute if any, and of the tail.

    A group whose masks are all empty, and rightly left so, has a Dice of 1.
    """
    dice = _per_case(scores, cohort)
    by_group = {
        label: 1.0 if np.isnan(mean) else mean
        for groups in attributes
        for label, mean in _by_group(dice, cohort, groups).items()
    }
    known = np.sort(dice[np.isfinite(dice)])
    return Candidate(epoch, _mean(dice), by_group, _mean(known[: max(1, round(TAIL * len(known)))]))


def _check_scored(scores: pd.DataFrame, cohort: Cohort, attributes: Sequence[Groups]) -> None:
    """Refuse validation cases that say nothing of the host as deployed."""
    dice = _per_case(scores, cohort)
    means = [_by_group(dice, cohort, groups) for groups in attributes]
    lost = [repr(label) for one in means for label, mean in one.items() if np.isnan(mean)]
    if lost or np.isnan(dice).all():
        raise FitError(
            f"no Dice for any validation case{' of ' if lost else ''}{', '.join(lost)}: their "
            "masks are empty, and so are the predictions"
        )


def _per_case(scores: pd.DataFrame, cohort: Cohort) -> NDArray[np.float64]:
    """Return the Dice (N,) of each case, NaN where its mask and the prediction are empty."""
    per_case = scores.groupby("case")["dice"].mean().reindex(cohort.table["case"])
    dice: NDArray[np.float64] = per_case.to_numpy(np.float64)
    return dice


def _by_group(dice: NDArray[np.float64], cohort: Cohort, groups: Groups) -> dict[str, float]:
    codes = groups.codes(cohort.table)
    return {label: _mean(dice[codes == code]) for code, label in enumerate(groups.labels)}


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of what is a number; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
