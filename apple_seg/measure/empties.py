"""What a score is where a mask is empty: named policies, so that none works unseen.

The share of empty masks differs by group, so the policy can make a difference or hide one.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from apple_seg.measure.metrics import METRICS

NAN = float("nan")


class Policy(NamedTuple):
    """Scores of a class of a case of which a mask is empty.

    Where only the prediction is empty an overlap is 0 under every policy.
    """

    both_empty: float
    """Overlaps where nothing is there and nothing was found."""

    truth_empty: float
    """Overlaps where the truth is empty and the prediction is not: a false positive."""

    distance: float
    """Distances where one mask is empty, or both."""

    definition: str


POLICIES: Mapping[str, Policy] = {
    "skip": Policy(NAN, 0.0, NAN, "both empty: not scored; only one empty: 0"),
    "one": Policy(1.0, 0.0, NAN, "both empty: 1; only one empty: 0"),
    "monai": Policy(NAN, NAN, NAN, "true mask empty: not scored; only the prediction empty: 0"),
    "fairseg": Policy(
        0.0, 1.0, 0.0, "prediction empty: 0; only the true mask empty: 1; distances 0 in each case"
    ),
}
"""`skip` is nnU-Net's and torchmetrics' way, `one` the challenges' usual one, `monai` is
`DiceMetric`'s, `fairseg` that of the per-case helper of FairSeg and SAMed, under which a false
positive is a perfect score."""

EVERY_POLICY = (
    "Under every policy the volume error is -1 where only the prediction is empty, and not scored "
    "where the true mask is; distances are not scored where a mask is empty unless the policy says."
)
"""What the policies' definitions leave out, for whoever shows them."""


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
    no_truth, no_prediction = table["truth_size"] == 0, table["predicted_size"] == 0
    result = table.copy()
    for name, metric in METRICS.items():
        if name in table and metric.kind == "overlap":
            result.loc[no_truth & ~no_prediction, name] = chosen.truth_empty
            result.loc[no_truth & no_prediction, name] = chosen.both_empty
        elif name in table and metric.kind == "distance":
            result.loc[no_truth | no_prediction, name] = chosen.distance
    return result
