"""nnU-Net's `summary.json` (version 2): what each case scored, label by label."""

import json
import math
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from apple_seg.data.lines import Fault, Kind
from apple_seg.errors import CaseError
from apple_seg.measure.formats import SIZES, RawScores, wrong_number

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy")
_NUMBERS = {"truth_size": "n_ref", "predicted_size": "n_pred", "dice": "Dice", "iou": "IoU"}
"""Ours to theirs."""


def read_nnunet(content: bytes, name: str) -> RawScores:
    """Read a `summary.json`; a case is called as its file is, a class as its label or region.

    Label 0, the background, is left out, as nnU-Net's own foreground mean does. Where both masks
    are empty Dice and IoU are NaN there, which is the policy `skip`.

    Raises:
        CaseError: It is no such summary.
    """
    rows: list[dict[str, Any]] = []
    faults = [
        Fault(0, f"entry {place}: {wrong}", Kind(f"entries: {wrong.partition(' is ')[0]}"))
        for place, entry in enumerate(_entries(content, name), 1)
        for wrong in _read_entry(entry, place, rows)
    ]
    scores = pd.DataFrame(rows, columns=["entry", "case", "class", *_NUMBERS])
    scores = scores.set_index("entry").rename_axis(None)
    labels = scores["class"].unique()
    counts = scores.groupby(level=0).size()
    for place in counts.index[counts < len(labels)]:
        lacking = [label for label in labels if label not in set(scores.loc[[place], "class"])]
        kind = Kind("entries without some label", "let nnU-Net evaluate all cases with all labels")
        faults.append(Fault(0, f"entry {place}: no label {', '.join(lacking)}", kind))
    return RawScores(scores, scores[["case"]].drop_duplicates(), faults, places="entry")


def stem(name: str) -> str:
    """Return a file's name without its folders and its suffix."""
    last = PurePosixPath(name.strip().replace("\\", "/")).name
    for suffix in _SUFFIXES:
        if last.lower().endswith(suffix):
            return last[: -len(suffix)]
    return last


def _entries(content: bytes, name: str) -> list[Any]:
    try:
        summary = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CaseError(f"{name} is no JSON: {error}") from error
    entries = summary.get("metric_per_case") if isinstance(summary, dict) else None
    if not isinstance(entries, list) or not entries:
        raise CaseError(
            f"{name} has no metric_per_case with an entry a case, as nnU-Net 2 writes it"
        )
    return entries


def _read_entry(entry: Any, place: int, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Add a row a label to `rows`, and yield what is wrong."""
    entry = entry if isinstance(entry, dict) else {}
    file = entry.get("prediction_file") or entry.get("reference_file")
    metrics = entry.get("metrics")
    if not isinstance(file, str) or not isinstance(metrics, dict) or not metrics.keys() - {"0"}:
        yield "no prediction_file, or no metrics of a label"
        return
    for label, numbers in metrics.items():
        if label == "0":
            continue
        row: dict[str, Any] = {"entry": place, "case": stem(file), "class": label}
        for target, theirs in _NUMBERS.items():
            value = numbers.get(theirs) if isinstance(numbers, dict) else None
            row[target], wrong = _number(value, target)
            if wrong:
                yield f"{theirs} of label {label} is {value!r:.40}, {wrong}"
        yield from _contradictions(row, label)
        rows.append(row)


def _number(value: Any, target: str) -> tuple[float, str]:
    """Return a number, NaN where there is none, and what is wrong with it."""
    if value is None:
        return math.nan, ""
    # Python counts true as 1; a JSON that says so holds no score.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan, "no number"
    try:
        number = float(value)
    except OverflowError:  # JSON's integers have no end
        return math.nan, "not finite"
    return number, "" if math.isnan(number) else wrong_number(number, target)


def _contradictions(row: dict[str, Any], label: str) -> Iterator[str]:
    """Yield what the scores and the sizes of a label cannot both be."""
    sizes = (row["truth_size"], row["predicted_size"])
    if math.isnan(row["dice"]) and sizes != (0, 0):
        yield f"no Dice of label {label}, though not both masks are empty"
    if 0 in sizes:
        empty = " and ".join(_NUMBERS[name] for name in SIZES if row[name] == 0)
        for target in ("dice", "iou"):
            if row[target] > 0:
                yield f"{_NUMBERS[target]} of label {label} is {row[target]:g}, though {empty} is 0"
