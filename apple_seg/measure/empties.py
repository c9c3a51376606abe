"""What a score is where a mask is empty: named policies, so that none works unseen.

The share of empty masks differs by group, so the policy can make a difference or hide one.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from apple_seg.measure.metrics import METRICS

NAN = float("nan")


class Policy(NamedTuple):
    """Overlap scores of a class of a case; distances are NaN wherever a mask is empty."""

    both_empty: float
    truth_empty: float
    """The truth is empty and the prediction is not: a false positive."""

    definition: str


POLICIES: Mapping[str, Policy] = {
    "skip": Policy(NAN, 0.0, "both empty: not scored; only one empty: 0"),
    "one": Policy(1.0, 0.0, "both empty: 1; only one empty: 0"),
    "monai": Policy(NAN, NAN, "true mask empty: not scored; only the prediction empty: 0"),
}
"""`skip` is nnU-Net's and torchmetrics' way, `one` the challenges' usual one, `monai` is
`DiceMetric`'s."""


def apply_policy(table: pd.DataFrame, policy: str) -> pd.DataFrame:
    """Return scores as they are under another policy.

    Args:
        table: What `score` returns, under whichever policy.
        policy: A key of `POLICIES`.

    Raises:
        ValueError: No such policy.
    """
    if policy not in POLICIES:
        raise ValueError(f"no policy {policy!r} for empty masks; known are: {', '.join(POLICIES)}")
    chosen = POLICIES[policy]
    no_truth = table["truth_size"] == 0
    nothing = no_truth & (table["predicted_size"] == 0)
    result = table.copy()
    for name in METRICS:
        if name in table and METRICS[name].overlap:
            result.loc[no_truth & ~nothing, name] = chosen.truth_empty
            result.loc[nothing, name] = chosen.both_empty
    return result
