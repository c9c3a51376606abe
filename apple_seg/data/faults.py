"""What can be wrong with a table of cases and its files: each fault, of its kind."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
from tqdm import tqdm

from apple_seg.data.cohort import CLUSTER, KEY, MASK, SPLIT, Cohort
from apple_seg.data.groups import GroupFault, Groups
from apple_seg.data.lines import Fault, Kind
from apple_seg.data.sources import Source
from apple_seg.errors import CaseError, GroupError
from apple_seg.names import meant

_TWICE = Kind("cases that stand more than once", "keep one line of each")
_TORN = Kind("clusters in several splits", "move all cases of a patient into one split")


def case_faults(cohort: Cohort, splits: Sequence[str], progress: bool) -> Iterator[Fault]:
    """Yield the cases of these splits that cannot be read as they are declared; open every file."""
    rows = cohort.table.index[cohort.table[SPLIT].isin(splits)].to_numpy()
    chosen = cohort.take(rows)
    with ThreadPoolExecutor() as pool:
        found = pool.map(_case_fault(chosen), range(len(chosen)))
        bar = tqdm(
            found,
            "checking cases",
            total=len(chosen),
            disable=None if progress else True,
            leave=False,
        )
        for row, text in zip(rows, bar, strict=True):
            if text:
                yield Fault(int(row) + 2, text, _kind_of(text))


def _case_fault(cohort: Cohort) -> Callable[[int], str]:
    def fault(index: int) -> str:
        try:
            cohort[index]
        except CaseError as error:
            return str(error)
        return ""

    return fault


def _kind_of(text: str) -> Kind:
    """Return what a fault of a case's files is, by its words up to the numbers."""
    words = re.split(r"[\d\[({]", text.partition(": ")[2] or text)[0].strip(" ,;:")
    return Kind(f"cases whose files cannot be used: {words}", "mend them, or leave the cases out")


def header_faults(header: Sequence[str], roles: Mapping[str, str]) -> Iterator[Fault]:
    """Yield the columns that are missing, stand twice, or mean something else."""
    named = ", ".join(header)
    for role, column in roles.items():
        if column not in header:
            like = meant(column, header)
            yield Fault(1, f"no column {column!r} for the {role}{like}; the columns are: {named}")
    for column in sorted({column for column in header if header.count(column) > 1}):
        yield Fault(1, f"the column {column!r} stands {header.count(column)} times")
    for role in (KEY, CLUSTER, MASK, SPLIT):
        if role in header and roles.get(role, role) != role:
            yield Fault(1, f"the column {role!r} is not the {role} declared; rename it")
    for role in (CLUSTER, SPLIT):
        if role in header and role not in roles:
            yield Fault(1, f"there is a column {role!r} and none is declared; declare or rename it")


def table_faults(table: pd.DataFrame) -> Iterator[Fault]:
    """Yield the cells that are empty and must not be, cases that stand twice, torn clusters."""
    for role in (KEY, CLUSTER, SPLIT):
        for row in table.index[table[role] == ""]:
            remedy = "fill the column, or declare none" if role != KEY else "name the image"
            yield Fault(int(row) + 2, f"no {role}", Kind(f"cases without a {role}", remedy))
    named = table[table[KEY] != ""]
    for key, part in named[named.duplicated(KEY, keep=False)].groupby(KEY):
        rows = [int(row) + 2 for row in part.index]
        listed = ", ".join(map(str, rows))
        yield Fault(rows[1], f"{key!s} stands on rows {listed}; a case may stand once", _TWICE)
    pairs = table[table[CLUSTER] != ""].drop_duplicates([CLUSTER, SPLIT])
    for cluster, part in pairs[pairs.duplicated(CLUSTER, keep=False)].groupby(CLUSTER):
        splits = ", ".join(map(repr, part[SPLIT]))
        row = int(part.index[1]) + 2
        yield Fault(row, f"{cluster!s} is in splits {splits}; a patient may be in one", _TORN)


def missing_files(table: pd.DataFrame, source: Source) -> Iterator[Fault]:
    """Yield the images and masks that are not there; open none."""
    for role, kind in ((KEY, "image"), (MASK, "mask")):
        lost = Kind(
            f"{kind}s that are not there",
            "paths are relative to the root of the cohort: mend them, or the root",
        )
        for row, name in table.loc[table[role] != "", role].items():
            if not source.holds(str(name)):
                yield Fault(int(str(row)) + 2, f"{kind} {name} is not there", lost)


def group_faults(cohort: Cohort, groups: Groups, splits: Sequence[str]) -> Iterator[Fault]:
    """Yield whatever keeps these splits from being grouped as declared."""
    table = cohort.table
    try:
        codes, lost = groups.assign(table)
    except GroupError as error:
        yield Fault(1, str(error))
        return
    yield from foreign_values(table, lost)
    for split in splits:
        inside = (table[SPLIT] == split).to_numpy()
        if not inside.any():
            known = ", ".join(sorted(map(repr, table[SPLIT].unique())))
            yield Fault(0, f"no case in split {split!r}; the splits are: {known}")
            continue
        for code, label in enumerate(groups.labels):
            if not (codes[inside] == code).any():
                yield Fault(0, f"no case of group {label!r} in split {split!r}")


def foreign_values(table: pd.DataFrame, lost: Sequence[GroupFault]) -> Iterator[Fault]:
    """Yield the values that fit no group, with the lines and the cases that they stand in."""
    for fault in lost:
        row = int(table.index[fault.row]) + 2
        message = f"{fault.message} and not declared unknown (case {table[KEY].iloc[fault.row]})"
        kind = Kind(
            f"values of {fault.column} that fit no declared group",
            "correct them, declare them as a group, or declare them unknown (groups.unknown)",
        )
        yield Fault(row, message, kind)
