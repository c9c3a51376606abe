"""Per-case scores from files, so that an audit needs neither a segmentor nor masks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from apple_seg.data.lines import Fault, Kind, listed
from apple_seg.errors import CaseError
from apple_seg.measure.formats import (
    CASE_NAMES,
    DICE_NAMES,
    SIZES,
    RawScores,
    read_audit,
    read_fairmedfm,
    read_rows,
    read_text,
)
from apple_seg.measure.nnunet import read_nnunet, stem
from apple_seg.names import meant

_CLUSTERS = ("cluster", "patient_id")
_OTHER = Kind()
_LEADING = ("case", "cluster", "class", *SIZES, "unit")


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoreTable:
    """What `audit_scores` takes, and what its reader must know."""

    scores: pd.DataFrame
    """A row a case and class: `case`, `cluster`, `class`, `truth_size`, `predicted_size` (NaN where
    the file does not say), `unit` where the file says, then the metrics."""

    table: pd.DataFrame
    """A row a case: `case`, `cluster`, and every other column, as text, to group by."""

    kind: str
    """A key of `FORMATS`."""

    caveats: tuple[str, ...]
    """What the files leave unknown, in sentences, for the report."""


class Format(NamedTuple):
    """A kind of file that holds scores."""

    definition: str
    read: Callable[[bytes, str, str | None], RawScores]
    """Content, name, and the column that names the cases."""


FORMATS: Mapping[str, Format] = {
    "scores": Format(
        "what `score` returns, as CSV: case, cluster, class, truth_size, predicted_size, metrics",
        lambda content, name, _: read_rows(content, name),
    ),
    "audit": Format(
        "the CSV of an audit: case, cluster, group, truth_size, predicted_size, metrics",
        lambda content, name, _: read_audit(content, name),
    ),
    "fairmedfm": Format(
        f"a CSV with a row a sample and a column {', '.join(DICE_NAMES)}, or dice_<class>",
        read_fairmedfm,
    ),
    "nnunet": Format(
        "nnU-Net's summary.json with metric_per_case",
        lambda content, name, _: read_nnunet(content, name),
    ),
}
"""What `read_scores` reads, and tells apart by content."""


def read_scores(
    path: Path | str,
    *,
    kind: str | None = None,
    case: str | None = None,
    attributes: Path | str | None = None,
    on: str | None = None,
    cluster: str | None = None,
) -> ScoreTable:
    """Read per-case scores and what is known of the cases.

    Args:
        path: See `FORMATS`.
        kind: A key of `FORMATS`; None finds it by the content.
        case: Of a fairmedfm table, the column that names each sample; None takes the one of a
            usual name, and the line of the file where there is none.
        attributes: A CSV with a row a case, to be joined. Cases without a score are left out.
        on: The column of `attributes` that names the case, as the scores do; for nnU-Net, a file
            whose name without folders and suffix is the case's. None takes the one of a usual name.
        cluster: The column, of either file, that says which cases share a patient. None takes
            `cluster` or `patient_id`, and makes each case a cluster of its own without either.

    Raises:
        CaseError: A file cannot be read or is of no known format; or cases stand twice, have no
            row in `attributes`, or numbers are out of range, all of them at once.
    """
    content, name = _content(path), str(path)
    found = recognise(content, name) if kind is None else kind
    if found not in FORMATS:
        raise CaseError(f"no format {found!r} of scores; {_known()}")
    raw = FORMATS[found].read(content, name, case)
    joined = _Joined(raw.said)
    if attributes is not None:
        joined = _join(raw, attributes, on, stems=found == "nnunet")
    clusters = _clusters(joined.table, cluster)
    faults = [*raw.faults, *_case_faults(raw), *joined.missing]
    if not joined.missing:
        bare = Kind("cases without a cluster", "say of each which patient it is of")
        faults += [_fault(raw, row, "no cluster", bare) for row in clusters.index[clusters == ""]]
    both = ((name, faults), (str(attributes), joined.faults))
    if told := [listed(wrong, where) for where, wrong in both if wrong]:
        raise CaseError("\n".join(told))
    table = joined.table.assign(cluster=clusters).reset_index(drop=True)
    scores = raw.scores.reset_index(drop=True)
    scores["cluster"] = scores["case"].map(table.set_index("case")["cluster"])
    if scores[list(SIZES)].notna().all(axis=None):
        scores = scores.astype(dict.fromkeys(SIZES, "int64"))
    leading = [name for name in _LEADING if name in scores]
    return ScoreTable(
        scores=scores[[*leading, *scores.columns.difference(leading, sort=False)]],
        table=table,
        kind=found,
        caveats=(*raw.caveats, *joined.caveats, *_unsized(scores)),
    )


def recognise(content: bytes, name: str) -> str:
    """Return the format of a file, a key of `FORMATS`.

    Raises:
        CaseError: It has none.
    """
    if content.lstrip()[:1] in (b"{", b"["):
        return "nnunet"
    table = read_text(content, name)
    if {"case", "cluster", *SIZES} <= {*table.frame.columns}:
        for kind, telling in (("scores", "class"), ("audit", "group")):
            if telling in table.frame:
                return kind
    if table.named(DICE_NAMES) or table.by_class:
        return "fairmedfm"
    raise CaseError(f"{name} holds no scores; {table.columns}. {_known()}")


class _Joined(NamedTuple):
    """What is known of the cases, from both files."""

    table: pd.DataFrame
    """Labelled as `RawScores.said`."""

    missing: Sequence[Fault] = ()
    """Of the scores: cases that the attributes do not have."""

    faults: Sequence[Fault] = ()
    """Of the attributes."""

    caveats: tuple[str, ...] = ()


def _join(raw: RawScores, path: Path | str, on: str | None, *, stems: bool) -> _Joined:
    """Join what the scores' file says with the attributes, case by case."""
    name = str(path)
    other = read_text(_content(path), name)
    found = [on] if on is not None else other.named(CASE_NAMES)
    if len(found) != 1 or found[0] not in other.frame:
        like = meant(on, other.frame.columns) if on is not None else ""
        raise CaseError(
            f"{name}: which column names the case? Of {', '.join(found) or 'the usual names'} "
            f"{'several are' if len(found) > 1 else 'none is'} there{like}; name it with on=; "
            f"{other.columns}"
        )
    rest = other.frame.drop(columns=found)
    if twice := [column for column in rest if column in raw.said]:
        raise CaseError(
            f"{name}: the scores' file has {', '.join(map(str, twice))} too; leave that in one of "
            "the two"
        )
    keys = other.frame[found[0]].map(stem) if stems else other.frame[found[0]]
    faults = [*other.faults, *(Fault(int(row), f"no {found[0]}") for row in keys.index[keys == ""])]
    for key, part in keys[keys.duplicated(keep=False) & (keys != "")].groupby(keys):
        rows = ", ".join(map(str, part.index))
        faults.append(Fault(int(part.index[1]), f"{key!s} stands on rows {rows}; once is expected"))
    rest = rest.set_axis(keys).loc[lambda frame: ~frame.index.duplicated()]
    cases = raw.said["case"]
    lost = Kind(
        f"cases without a row in {name}",
        "add the rows, or name the column that holds the cases' names (--on)",
    )
    missing = [
        _fault(raw, row, f"{case} has no row in {name}", lost)
        for row, case in cases[~cases.isin(rest.index)].items()
    ]
    unused = int((~rest.index.isin(cases)).sum())
    caveats = (f"{unused} cases of {name} have no score and are left out.",) if unused else ()
    return _Joined(raw.said.join(rest, on="case"), missing, faults, caveats)


def _clusters(table: pd.DataFrame, column: str | None) -> pd.Series:
    """Return each case's cluster."""
    if column is not None and column not in table:
        raise CaseError(
            f"no column {column!r} for the cluster{meant(column, table.columns)}; the columns are: "
            + ", ".join(table.columns)
        )
    found = [name for name in (column, *_CLUSTERS) if name is not None and name in table]
    return table[found[0] if found else "case"].fillna("")


def _case_faults(raw: RawScores) -> Iterator[Fault]:
    if raw.scores.empty and not raw.faults:
        yield Fault(0, "no case has a score")
    for row in raw.scores.index[raw.scores["case"] == ""].unique():
        yield _fault(raw, row, "no name of a case")
    keys = raw.scores[raw.scores["case"] != ""]
    for (case, name), part in keys[keys.duplicated(["case", "class"], keep=False)].groupby(
        ["case", "class"], sort=False
    ):
        places = " and ".join(f"{raw.places} {place}" for place in part.index)
        yield _fault(raw, part.index[1], f"{case}, class {name}: stands in {places}; once is right")


def _fault(raw: RawScores, place: Any, message: str, kind: Kind = _OTHER) -> Fault:
    """Say where in the scores' file something is wrong."""
    if raw.places == "row":
        return Fault(int(place), message, kind)
    return Fault(0, f"{raw.places} {place}: {message}", kind)


def _unsized(scores: pd.DataFrame) -> tuple[str, ...]:
    unknown = int(scores[list(SIZES)].isna().any(axis=1).sum())
    if not unknown:
        return ()
    return (
        f"The sizes of {unknown} of {len(scores)} masks are not known: whether one of them is "
        "empty cannot be told, so that they are not counted among the empty ones and their scores "
        "stand as they are in the file, whatever the policy.",
    )


def _content(path: Path | str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CaseError(f"cannot read {path}: {error.strerror}") from error


def _known() -> str:
    return "known are: " + "; ".join(f"{kind} ({one.definition})" for kind, one in FORMATS.items())
