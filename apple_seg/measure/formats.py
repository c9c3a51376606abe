"""How tables say what each case scored: our own, and those with fairmedfm's columns."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apple_seg.data.lines import RAGGED, Fault, Kind, read_lines
from apple_seg.errors import CaseError, ManifestError
from apple_seg.measure.metrics import METRICS
from apple_seg.names import meant

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

_BY_CLASS = "dice_"
NAN_WORDS = frozenset(("", "nan", "na", "n/a", "none", "null"))


@dataclass(frozen=True, eq=False)
class RawScores:
    """What a file of scores holds, and what is wrong with it."""

    scores: pd.DataFrame
    """A row a case and class: `case`, `class`, maybe `unit`, sizes (NaN where not known), metrics;
    labelled by the line of the file, or by the place of the entry, that it comes from."""

    said: pd.DataFrame
    """A row a case, labelled as its first of `scores`: `case` and all other columns, as text."""

    faults: Sequence[Fault] = ()
    caveats: tuple[str, ...] = ()
    places: str = "row"
    """What the labels are of."""


@dataclass(frozen=True)
class TextTable:
    """A CSV as text."""

    frame: pd.DataFrame
    """A row a line, labelled by its number."""

    faults: list[Fault] = field(default_factory=list)

    def named(self, names: Sequence[str]) -> list[str]:
        """Return the columns that have one of these names, whatever their capitals and blanks."""
        return [column for column in self.frame.columns if plain(column) in names]

    @property
    def by_class(self) -> list[str]:
        """The columns with the Dice of a class."""
        single = self.named(DICE_NAMES)
        return [
            column
            for column in self.frame.columns
            if plain(column).startswith(_BY_CLASS) and column not in single
        ]

    @property
    def columns(self) -> str:
        """The columns, for error messages."""
        return f"the columns are: {', '.join(self.frame.columns)}"


def plain(column: str) -> str:
    """Return a column's name in lower case, its blanks, dots and dashes as underscores."""
    return re.sub(r"[\s\-.]+", "_", column.strip().lower())


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
        Fault(row, f"{len(line)} values for {len(header)} columns", RAGGED)
        for row, line in lines.items()
        if row not in whole
    ]
    frame = pd.DataFrame(list(whole.values()), index=list(whole), columns=header, dtype="string")
    return TextTable(frame.apply(lambda column: column.str.strip()), ragged)


def read_rows(content: bytes, name: str) -> RawScores:
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
        table.faults.append(
            Fault(int(part.index[1]), f"{case!s}: rows {rows} differ beyond scores")
        )
    return RawScores(scores, said.drop_duplicates("case"), table.faults)


def read_audit(content: bytes, name: str) -> RawScores:
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
    single, by_class = table.named(DICE_NAMES), table.by_class
    if len(single) > 1 or (single and by_class):
        listed = ", ".join(map(repr, [*single, *by_class]))
        raise CaseError(
            f"{name}: {listed} could all be the Dice; leave one of them, or those by class"
        )
    if not single and not by_class:
        raise CaseError(f"{name}: no column {', '.join(DICE_NAMES)}; " + table.columns)
    endings = {column[len(_BY_CLASS) :]: {"dice": column} for column in by_class}
    columns = endings or {ONE_CLASS: {"dice": single[0]}}
    for ending, mine in columns.items():
        for target in (*SIZES, *METRICS):
            found = table.named([f"{target}_{plain(ending)}" if endings else target])
            if found and target not in mine:
                mine[target] = found[0]
    named, caveats = _name_cases(table, case, name)
    if by_class:
        caveats = (
            f"Columns of {name} that are taken for the Dice of a class each, and averaged case by "
            f"case: {', '.join(by_class)}. One that holds anything else (another segmentor, a "
            "spread) must be left out of the file.",
            *caveats,
        )
    return RawScores(*_by_class(named, columns), named.faults, caveats)


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


_MEND = "correct them, or leave the cell empty where there is no score"


def _column(table: TextTable, column: str, name: str) -> NDArray[np.float64]:
    values = np.full(len(table.frame), math.nan)
    for place, text in enumerate(table.frame[column].tolist()):
        if text.lower() in NAN_WORDS:
            continue
        try:
            values[place] = float(text)
            wrong = wrong_number(values[place], name)
        except ValueError:
            wrong = "no number"
        if wrong:
            row = int(table.frame.index[place])
            kind = Kind(f"values of {column}: {wrong}", _MEND)
            table.faults.append(Fault(row, f"{column} is {text}, {wrong}", kind))
    return values


def wrong_number(value: float, name: str) -> str:
    """Say what is wrong with a size or a score; "" where nothing is."""
    if not math.isfinite(value):
        return "not finite"
    if name in SIZES:
        return "" if value >= 0 and value == int(value) else "not a count of voxels"
    kind = METRICS[name].kind
    if kind == "overlap" and not 0 <= value <= 1:
        return "outside 0 to 1"
    return "a distance below 0" if kind == "distance" and value < 0 else ""


def _name_cases(table: TextTable, case: str | None, name: str) -> tuple[TextTable, tuple[str, ...]]:
    """Return the table with a column `case` in place of the one that names the cases."""
    found = [case] if case is not None else table.named(CASE_NAMES)
    if len(found) > 1 or not {*found} <= {*table.frame.columns}:
        like = "" if case is None else meant(case, table.frame.columns)
        raise CaseError(
            f"{name}: which column names the cases? {', '.join(map(repr, found))} "
            f"{'could all' if len(found) > 1 else f'is not there{like}'}; name it with case=. "
            + table.columns
        )
    if found and found[0] != "case" and "case" in table.frame:
        raise CaseError(
            f"{name}: the column 'case' does not name the cases, {found[0]!r} does; rename it"
        )
    if found:
        return TextTable(table.frame.rename(columns={found[0]: "case"}), table.faults), ()
    lines = [f"row {row}" for row in table.frame.index]
    frame = table.frame.assign(case=pd.array(lines, dtype="string"))
    return TextTable(frame, table.faults), (
        f"No column of {name} names the cases: they go by their line in the file.",
    )


def _require(table: TextTable, columns: Sequence[str], name: str) -> None:
    lacking = [column for column in columns if column not in table.frame]
    metrics = [metric for metric in METRICS if metric in table.frame]
    if lacking or not metrics:
        wanted = ", ".join(lacking) or f"of {', '.join(METRICS)}"
        raise CaseError(f"{name}: no column {wanted}; " + table.columns)
