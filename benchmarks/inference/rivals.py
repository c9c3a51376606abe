"""What fairlearn and fairmedfm answer on the same cohorts, asked of the installed packages."""

from typing import NamedTuple

import numpy as np
import pandas as pd


class Interval(NamedTuple):
    """Ends of a 95 % interval."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether somebody who reads it would say that the groups differ."""
        return self.low > 0 or self.high < 0


def fairlearn_difference(table: pd.DataFrame, *, seed: int) -> Interval:
    """Return the interval of fairlearn's `difference()`: the largest minus the smallest group mean.

    Percentiles of 100 resamples of single cases, as its `MetricFrame` draws them.
    """
    from fairlearn.metrics import MetricFrame, mean_prediction

    frame = MetricFrame(
        metrics=mean_prediction,
        y_true=np.zeros(len(table)),
        y_pred=table["before"].to_numpy(),
        sensitive_features=table["group"].to_numpy(),
        n_boot=100,
        ci_quantiles=[0.025, 0.975],
        random_state=seed,
    )
    return Interval(*map(float, frame.difference_ci(method="between_groups")))


def fairmedfm_gap(table: pd.DataFrame) -> float:
    """Return fairmedfm's `delta_dice`, which has no interval."""
    from fairmedfm.group_metrics import dice_gap

    return float(dice_gap(table["before"].to_numpy(), sensitive_features=table["group"].to_numpy()))
