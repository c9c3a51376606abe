"""How files say what each case scored: our own tables, fairmedfm's columns, nnU-Net's summary."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apple_seg.data.lines import Fault, read_lines
from apple_seg.errors import CaseError, ManifestError
from apple_seg.measure.metrics import METRICS

ONE_CLASS = "all"
"""The class of scores that are not told apart by class."""

SIZES = ("truth_size", "predicted_size")
DICE_NAMES = ("dice", "dsc", "dice_score", "dice_coefficient")
CASE_NAMES = (
    *("case", "case_id", "id", "image", "image_id", "image_path", "img_id", "file", "filename"),
    *("file_name", "path", "name", "sample_id", "study_id"),
)
"""Columns that name a case, of which a table may have one; blanks, dots, dashes and capitals of a
column's name do not matter. What names a patient is not among them."""

NAN_WORDS = frozenset(("", "nan", "na", "n/a", "none", "null"))
_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy")


@dataclass(frozen=True, eq=False)
class RawScores:
    """What a file of scores holds, and what is wrong with it."""

    scores: pd.DataFrame
    """A row a case and class: `case`, `class`, sizes (NaN where not known), maybe `unit`, metrics;
    labelled by its line in the file."""

    said: pd.DataFrame
    """A row a case, labelled as its first of `scores`: `case` and all other columns, as text."""

    faults: Sequence[Fault] = ()
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextTable:
    """A CSV as text."""

    frame: pd.DataFrame
    """A row a line, labelled by its number."""

    faults: list[Fault] = field(default_factory=list)

    def named(self, names: Sequence[str]) -> list[str]:
        """Return the columns that have one of these names, whatever their capitals and blanks."""
        return [column for column in self.frame.columns if plain(column) in names]


def plain(column: str) -> str:
    """Return a column's name in lower case, its blanks, dots and dashes as underscores."""
    return re.sub(r"[\s\-.]+", "_", column.strip().lower())


def stem(name: str) -> str:
    """Return a file's name without its folders and its suffix."""
    last = PurePosixPath(name.strip().replace("\\", "/")).name
    for suffix in _SUFFIXES:
        if last.lower().endswith(suffix):
            return last[: -len(suffix)]
    return last


def read_text(content: bytes, name: str) -> TextTable:
    """Read a CSV.

    Raises:
        CaseError: It is none, or has no line below its header.
    """
    try:
        header, lines = read_lines(content, name)
    except ManifestError as error:
        raise CaseError(str(error)) from error
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice or not lines:
        what = f"the column {twice[0]!r} stands twice" if twice else "no case: the table is empty"
        raise CaseError(f"{name}: {what}")
    whole = {row: line for row, line in lines.items() if len(line) == len(header)}
    ragged = [
        Fault(row, f"{len(line)} values for {len(header)} columns")
        for row, line in lines.items()
        if row not in whole
    ]
    frame = pd.DataFrame(list(whole.values()), index=list(whole), columns=header, dtype="string")
    return TextTable(frame.apply(lambda column: column.str.strip()), ragged)


def read_rows(content: bytes, name: str, _case: str | None) -> RawScores:
    """Read what `score` gives: a row a case and class."""
    table = read_text(content, name)
    _require(table, ("case", "cluster", "class", *SIZES), name)
    found = [metric for metric in METRICS if metric in table.frame]
    columns = {column: column for column in (*SIZES, *found)}
    numbers = _numbers(table, columns)
    text = [column for column in ("case", "class", "unit") if column in table.frame]
    scores = pd.concat([table.frame[text], numbers], axis=1)
    said = table.frame.drop(columns=[*columns, *({*text} - {"case"})])
    several = said.drop_duplicates()
    for case, part in several[several.duplicated("case", keep=False)].groupby("case"):
        rows = ", ".join(map(str, part.index))
        table.faults.append(Fault(int(part.index[1]), f"{case!s}: rows {rows} differ beyond scores"))
    return RawScores(scores, said.drop_duplicates("case"), table.faults)


def read_audit(content: bytes, name: str, _case: str | None) -> RawScores:
    """Read what `Audit.to_csv` wrote: a row a case, its classes averaged."""
    table = read_text(content, name)
    _require(table, ("case", "cluster", "group", *SIZES), name)
    found = [metric for metric in METRICS if metric in table.frame]
    return RawScores(
        *_by_class(table, {ONE_CLASS: {column: column for column in (*SIZES, *found)}}),
        table.faults,
        (
            f"Scores are read from the per-case table of an audit ({name}): they are means over "
            "classes, under the policy for empty masks that was declared there.",
        ),
    )


def read_fairmedfm(content: bytes, name: str, case: str | None) -> RawScores:
    """Read a row a sample with its Dice, in `dice` or, by class, in `dice_<class>`."""
    table = read_text(content, name)
    single = table.named(DICE_NAMES)
    by_class = [
        column
        for column in table.frame.columns
        if plain(column).startswith("dice_") and column not in single
    ]
    if len(single) > 1 or (single and by_class):
        listed = ", ".join(map(repr, [*single, *by_class]))
        raise CaseError(f"{name}: {listed} could all be the Dice; leave one of them, or those by class")
    if not single and not by_class:
        raise CaseError(f"{name}: no column {', '.join(DICE_NAMES)}; " + _columns(table))
    endings = {column[len("dice_") :]: {"dice": column} for column in by_class}
    columns = endings or {ONE_CLASS: {"dice": single[0]}}
    for ending, mine in columns.items():
        for target in (*SIZES, *METRICS):
            wanted = f"{target}_{plain(ending)}" if endings else target
            mine |= {target: one for one in table.named([wanted]) if target not in mine}
    named, caveats = _name_cases(table, case, name)
    return RawScores(*_by_class(named, columns), named.faults, caveats)


def read_nnunet(content: bytes, name: str, _case: str | None) -> RawScores:
    """Read nnU-Net's `summary.json`, version 2; label 0, background, is left out as it does."""
    entries = _entries(content, name)
    rows: list[dict[str, Any]] = []
    faults = [fault for place, entry in enumerate(entries, 1) for fault in _read_entry(entry, place, rows)]
    scores = pd.DataFrame(rows, columns=["entry", "case", "class", *SIZES, "dice", "iou"])
    scores = scores.set_index("entry").rename_axis(None)
    labels = scores["class"].unique()
    for case, part in scores.groupby("case", sort=False):
        if lacking := ", ".join(label for label in labels if label not in set(part["class"])):
            faults.append(Fault(0, f"entry {part.index[0]}: {case!s} has no label {lacking}"))
    return RawScores(scores, scores[["case"]].drop_duplicates(), faults)


Reader = Callable[[bytes, str, str | None], RawScores]

FORMATS: Mapping[str, tuple[Reader, str]] = {
    "scores": (read_rows, "the CSV of `score`: case, cluster, class, truth_size, predicted_size"),
    "audit": (read_audit, "the per-case CSV of an audit: case, cluster, group, truth_size, ..."),
    "nnunet": (read_nnunet, "nnU-Net's summary.json with metric_per_case"),
    "fairmedfm": (read_fairmedfm, f"a CSV with a column {', '.join(DICE_NAMES)} or dice_<class>"),
}
"""Name to reader and what it reads; found by content in this order."""


def recognise(content: bytes, name: str) -> str:
    """Return the format of a file.

    Raises:
        CaseError: It has none.
    """
    if content.lstrip()[:1] in (b"{", b"["):
        return "nnunet"
    table = read_text(content, name)
    columns = {*table.frame.columns}
    if {"case", "cluster", *SIZES} <= columns and {"class", "group"} & columns:
        return "scores" if "class" in columns else "audit"
    if table.named(DICE_NAMES) or any(plain(one).startswith("dice_") for one in columns):
        return "fairmedfm"
    raise CaseError(
        f"{name} holds no scores that are known here; " + _columns(table) + ". Known are: "
        + "; ".join(f"{kind} ({what})" for kind, (_, what) in FORMATS.items())
    )


def _by_class(
    table: TextTable, columns: Mapping[str, Mapping[str, str]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a row a case and class, and what else is said of each case.

    Args:
        table: With a column `case`.
        columns: Class to sizes and metrics to columns of the table.
    """
    parts = []
    for name, mine in columns.items():
        numbers = _numbers(table, mine)
        parts.append(pd.concat([table.frame[["case"]], numbers], axis=1).assign(**{"class": name}))
    scores = pd.concat(parts).sort_index(kind="stable")
    used = {column for mine in columns.values() for column in mine.values()}
    said = table.frame.drop(columns=[column for column in used if column in table.frame])
    return scores, said


def _numbers(table: TextTable, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return sizes and metrics as numbers, NaN where there is none; add what is wrong."""
    names = [name for name in (*SIZES, *METRICS) if name in columns or name in SIZES]
    made = {
        name: _column(table, columns[name], name)
        if name in columns
        else np.full(len(table.frame), math.nan)
        for name in names
    }
    return pd.DataFrame(made, index=table.frame.index)


def _column(table: TextTable, column: str, name: str) -> NDArray[np.float64]:
    values = np.full(len(table.frame), math.nan)
    for place, (row, text) in enumerate(table.frame[column].items()):
        wrong = ""
        if text.lower() not in NAN_WORDS:
            try:
                values[place] = float(text)
                wrong = wrong_number(float(text), name)
            except ValueError:
                wrong = "no number"
        if wrong:
            table.faults.append(Fault(int(str(row)), f"{column} is {text}, {wrong}"))
    return values


def wrong_number(value: float, name: str) -> str:
    """Say what is wrong with a size or a score; "" where nothing is."""
    if not math.isfinite(value):
        return "not finite"
    if name in SIZES:
        return "" if value >= 0 and value == int(value) else "not a count of voxels"
    overlap = name == "iou" or METRICS[name].overlap
    return "outside 0 to 1" if overlap and not 0 <= value <= 1 else ""


def _name_cases(
    table: TextTable, case: str | None, name: str
) -> tuple[TextTable, tuple[str, ...]]:
    """Return the table with a column `case` in place of the one that names the cases."""
    found = [case] if case is not None else table.named(CASE_NAMES)
    if len(found) > 1 or not {*found} <= {*table.frame.columns}:
        raise CaseError(
            f"{name}: which column names the cases? {', '.join(map(repr, found))} "
            f"{'could all' if len(found) > 1 else 'is not there'}; name it with case=. "
            + _columns(table)
        )
    if found:
        return TextTable(table.frame.rename(columns={found[0]: "case"}), table.faults), ()
    lines = [f"row {row}" for row in table.frame.index]
    frame = table.frame.assign(case=pd.array(lines, dtype="string"))
    return TextTable(frame, table.faults), (
        f"No column of {name} names the cases: they go by their line in the file.",
    )


def _entries(content: bytes, name: str) -> list[Any]:
    try:
        summary = json.loads(content)
    except ValueError as error:
        raise CaseError(f"{name} is no JSON: {error}") from error
    entries = summary.get("metric_per_case") if isinstance(summary, dict) else None
    if not isinstance(entries, list) or not entries:
        raise CaseError(
            f"{name} has no metric_per_case with an entry a case, as nnU-Net 2 writes it"
        )
    return entries


def _read_entry(entry: Any, place: int, rows: list[dict[str, Any]]) -> Iterator[Fault]:
    """Add a row a label to `rows`, and yield what is wrong."""
    file = isinstance(entry, dict) and (entry.get("prediction_file") or entry.get("reference_file"))
    metrics = entry.get("metrics") if isinstance(entry, dict) else None
    if not isinstance(file, str) or not isinstance(metrics, dict):
        yield Fault(0, f"entry {place}: no prediction_file or no metrics")
        return
    for label, numbers in metrics.items():
        if label == "0":
            continue
        wanted = dict(zip((*SIZES, "dice", "iou"), ("n_ref", "n_pred", "Dice", "IoU"), strict=True))
        row: dict[str, Any] = {"entry": place, "case": stem(file), "class": label}
        for target, theirs in wanted.items():
            value = numbers.get(theirs)
            row[target] = math.nan if value is None else float(value)
            if not math.isnan(row[target]) and (wrong := wrong_number(row[target], target)):
                yield Fault(0, f"entry {place}: {theirs} of label {label} is {value}, {wrong}")
        if "Dice" not in numbers:
            yield Fault(0, f"entry {place}: no Dice of label {label}")
        elif math.isnan(row["dice"]) and (row["truth_size"], row["predicted_size"]) != (0, 0):
            yield Fault(0, f"entry {place}: Dice of label {label} is NaN, and not both masks are empty")
        rows.append(row)


def _require(table: TextTable, columns: Sequence[str], name: str) -> None:
    lacking = [column for column in columns if column not in table.frame]
    metrics = [metric for metric in METRICS if metric in table.frame]
    if lacking or not metrics:
        wanted = ", ".join(lacking) or f"of {', '.join(METRICS)}"
        raise CaseError(f"{name}: no column {wanted}; " + _columns(table))


def _columns(table: TextTable) -> str:
    return f"the columns are: {', '.join(table.frame.columns)}"
