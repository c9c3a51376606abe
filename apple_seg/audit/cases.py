"""Scores of classes to a table of cases, and what the groups consist of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apple_seg.data import UNKNOWN, Groups
from apple_seg.errors import CaseError

SIZES = ("truth_size", "predicted_size")
UNKNOWN_LABEL = "unknown"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a group consists of. Masks are counted by class: a case with two classes has two."""

    cases: int
    clusters: int
    scored: int
    """Cases whose score is no NaN."""

    masks: int
    unsized: int
    """Masks whose sizes are not known, so that nobody knows whether they are empty."""

    truth_empty: int
    prediction_empty: int
    both_empty: int
    """Among `truth_empty` and `prediction_empty`."""

    misses: int
    """The truth is there and the prediction is empty."""

    false_positives: int
    """The truth is empty and the prediction is not."""


def per_case(scores: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Return a row a case: each metric's mean over the classes that have one, sizes summed."""
    grouped = scores.groupby("case", sort=False)
    table = grouped[["cluster"]].first()
    for name in SIZES:
        known = grouped[name].count() == grouped.size()
        table[name] = grouped[name].sum().where(known)  # unknown stays unknown
    for name in metrics:
        table[name] = grouped[name].mean()
    return table.reset_index()


def group_codes(scores: pd.DataFrame, table: pd.DataFrame, groups: Groups) -> NDArray[np.int64]:
    """Return the group code of each case of `scores`, in the order of their first rows.

    Raises:
        CaseError: The cases scored are not those of the table.
    """
    cases = pd.Index(scores["case"].drop_duplicates())
    known = pd.Index(table["case"])
    if known.has_duplicates:
        raise CaseError(f"{known[known.duplicated()][0]}: stands twice in the table of cases")
    same_cases(cases, known, "scores", "table of cases")
    codes = pd.Series(groups.codes(table), index=known)
    return np.asarray(codes.loc[cases], dtype=np.int64)


def count(
    scores: pd.DataFrame,
    cases: pd.DataFrame,
    codes: NDArray[np.int64],
    *,
    labels: Sequence[str],
    metric: str,
) -> dict[str, Counts]:
    """Count cases and empty masks by group, and of those in no group."""
    code_of = dict(zip(cases["case"], codes, strict=True))
    row_codes = scores["case"].map(code_of)
    named = {**dict(enumerate(labels)), UNKNOWN: UNKNOWN_LABEL}
    return {
        label: _count(scores[row_codes == code], cases[codes == code], metric)
        for code, label in named.items()
    }


def _count(scores: pd.DataFrame, cases: pd.DataFrame, metric: str) -> Counts:
    no_truth, no_prediction = scores["truth_size"] == 0, scores["predicted_size"] == 0
    return Counts(
        cases=len(cases),
        clusters=int(cases["cluster"].nunique()),
        scored=int(cases[metric].notna().sum()),
        masks=len(scores),
        unsized=int(scores[list(SIZES)].isna().any(axis=1).sum()),
        truth_empty=int(no_truth.sum()),
        prediction_empty=int(no_prediction.sum()),
        both_empty=int((no_truth & no_prediction).sum()),
        misses=int((~no_truth & no_prediction).sum()),
        false_positives=int((no_truth & ~no_prediction).sum()),
    )


def same_cases(left: pd.Index, right: pd.Index, left_name: str, right_name: str) -> None:
    """Raise an error that names what only one side has."""
    only_left, only_right = left.difference(right), right.difference(left)
    if len(only_left) or len(only_right):
        raise CaseError(
            f"the {left_name} and the {right_name} do not hold the same cases: "
            f"{len(only_left)} only in the {left_name} ({_few(only_left)}), "
            f"{len(only_right)} only in the {right_name} ({_few(only_right)}); "
            "score both on the same cohort"
        )


def _few(index: pd.Index) -> str:
    return ", ".join(map(str, index[:3])) or "none"
