"""A CSV of cases to a checked cohort: every fault is found before work starts, all at once."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from apple_seg.data.cohort import CLUSTER, KEY, MASK, SPLIT, Cohort
from apple_seg.data.groups import GroupFault, Groups
from apple_seg.data.lines import RAGGED, Fault, Kind, listed, read_lines
from apple_seg.data.sources import Source, open_source, plain_name
from apple_seg.errors import CaseError, GroupError, ManifestError
from apple_seg.names import meant

TEST = "test"
"""The split of all cases where none is declared: audits read it, fits do not."""


_TWICE = Kind("cases that stand more than once", "keep one line of each")
_TORN = Kind("clusters in several splits", "move all cases of a patient into one split")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Where the cases are listed and what the columns mean: the `[cohort]` table."""

    root: Path | str
    """Folder, zip, or folder inside a zip, that the paths in the manifest are relative to."""

    manifest: str = "cases.csv"
    """The CSV, relative to the root; or a path of its own."""

    classes: Mapping[str, int]
    """Class name to its value in the mask files, 1 or more."""

    image: str = "image"
    """Column with the image's path."""

    mask: str | None = "mask"
    """Column with the mask's path; None, or "" as TOML has it, where no case is annotated."""

    cluster: str | None = "patient_id"
    """Column that says which cases share a patient (or lesion, where patients are unknown); None
    or "" where nothing says so, and each case is a cluster of its own."""

    split: str | None = "split"
    """Column with the split of each case; None or "" where all cases are `test`, to be audited."""

    def __post_init__(self) -> None:
        values = list(self.classes.values())
        if not values or 0 in values or len(set(values)) < len(values):
            raise ManifestError(
                "classes need different values, one at least and none of them 0 (background); "
                f"got {dict(self.classes)}"
            )

    def read(self) -> Cohort:
        """Return the cohort, its table checked and its files not yet opened.

        Raises:
            ManifestError: Columns are missing, a case stands twice, a file is missing, or a
                cluster is in two splits; all faults at once, with their rows.
        """
        return self.read_from(open_source(Path(self.root)))

    def read_from(self, source: Source) -> Cohort:
        """Return the cohort that lies in `source`, whatever the root says; see `read`."""
        table, faults = self._read_table(source)
        _raise([*faults, *_table_faults(table), *_missing_files(table, source)], self.manifest)
        return Cohort(table, source, dict(self.classes))

    def read_checked(
        self, groups: Groups, *, splits: Sequence[str], progress: bool = True
    ) -> Cohort:
        """Return the cohort after `read` and `check`, with the faults of both at once.

        Raises:
            ManifestError: See `read` and `check`.
        """
        source = open_source(Path(self.root))
        table, faults = self._read_table(source)
        cohort = Cohort(table, source, dict(self.classes))
        missing = list(_missing_files(table, source))
        faults += [*_table_faults(table), *missing, *_group_faults(cohort, groups, splits)]
        seen = {fault.row - 2 for fault in missing}
        rest = cohort.take(table.index[~table.index.isin(seen)].to_numpy())
        _raise([*faults, *_case_faults(rest, splits, progress)], self.manifest)
        return cohort

    def _read_table(self, source: Source) -> tuple[pd.DataFrame, list[Fault]]:
        """Return the table, a row labelled by its line in the file less 2, and its bad lines."""
        header, lines = read_lines(self._open(source), self.manifest)
        optional = {CLUSTER: self.cluster, SPLIT: self.split, MASK: self.mask}
        roles = {KEY: self.image} | {role: name for role, name in optional.items() if name}
        faults = list(_header_faults(header, roles))
        whole = {row - 2: line for row, line in lines.items() if len(line) == len(header)}
        if not faults and not whole:
            faults = [Fault(0, "no case: the table is empty")]
        _raise(faults, self.manifest)
        table = pd.DataFrame(
            list(whole.values()), index=list(whole), columns=header, dtype="string"
        )
        columns = {role: table[column].str.strip() for role, column in roles.items()}
        for role, values in columns.items():
            table[role] = values.map(plain_name) if role in (KEY, MASK) else values
        for role, standing_in in ((CLUSTER, table[KEY]), (SPLIT, TEST), (MASK, "")):
            if role not in roles:
                table[role] = standing_in
        ragged = [
            Fault(row, f"{len(line)} values for {len(header)} columns", RAGGED)
            for row, line in lines.items()
            if len(line) != len(header)
        ]
        return table, ragged

    def _open(self, source: Source) -> bytes:
        name, own = plain_name(self.manifest), Path(self.manifest)
        if source.holds(name):
            return source.open(name)
        if own.is_file():
            return own.read_bytes()
        message = f"no manifest {self.manifest!r}, neither in {self.root} nor as a path of its own"
        below = sorted(found for found in source.names() if found.endswith(f"/{name}"))
        if below:
            folder = below[0].removesuffix(f"/{name}")
            message += f"; there is {below[0]}: name the root {Path(self.root) / folder}"
        raise ManifestError(message)


def check_values(cohort: Cohort, groups: Sequence[Groups], name: str) -> None:
    """Raise unless every value fits a declared group; open no file.

    Args:
        cohort: Of a manifest.
        groups: By several attributes.
        name: Of the manifest, for the error.

    Raises:
        ManifestError: Values fit no group; all of them at once, with their rows.
        GroupError: A column is missing.
    """
    table = cohort.table
    _raise([one for by in groups for one in _foreign_values(table, by.assign(table)[1])], name)


def check(cohort: Cohort, groups: Groups, *, splits: Sequence[str], progress: bool = True) -> None:
    """Read every case of the named splits once, and find whatever would fail later.

    Raises:
        ManifestError: Unreadable images, sizes that differ, mask values outside the classes,
            attribute values that fit no group, groups without a case; all at once.
    """
    faults = [*_group_faults(cohort, groups, splits), *_case_faults(cohort, splits, progress)]
    _raise(faults, "the cohort")


def _case_faults(cohort: Cohort, splits: Sequence[str], progress: bool) -> Iterator[Fault]:
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


def _header_faults(header: Sequence[str], roles: Mapping[str, str]) -> Iterator[Fault]:
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


def _table_faults(table: pd.DataFrame) -> Iterator[Fault]:
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


def _missing_files(table: pd.DataFrame, source: Source) -> Iterator[Fault]:
    for role, kind in ((KEY, "image"), (MASK, "mask")):
        lost = Kind(
            f"{kind}s that are not there",
            "paths are relative to the root of the cohort: mend them, or the root",
        )
        for row, name in table.loc[table[role] != "", role].items():
            if not source.holds(str(name)):
                yield Fault(int(str(row)) + 2, f"{kind} {name} is not there", lost)


def _group_faults(cohort: Cohort, groups: Groups, splits: Sequence[str]) -> Iterator[Fault]:
    table = cohort.table
    try:
        codes, lost = groups.assign(table)
    except GroupError as error:
        yield Fault(1, str(error))
        return
    yield from _foreign_values(table, lost)
    for split in splits:
        inside = (table[SPLIT] == split).to_numpy()
        if not inside.any():
            known = ", ".join(sorted(map(repr, table[SPLIT].unique())))
            yield Fault(0, f"no case in split {split!r}; the splits are: {known}")
            continue
        for code, label in enumerate(groups.labels):
            if not (codes[inside] == code).any():
                yield Fault(0, f"no case of group {label!r} in split {split!r}")


def _foreign_values(table: pd.DataFrame, lost: Sequence[GroupFault]) -> Iterator[Fault]:
    for fault in lost:
        row = int(table.index[fault.row]) + 2
        message = f"{fault.message} and not declared unknown (case {table[KEY].iloc[fault.row]})"
        kind = Kind(
            f"values of {fault.column} that fit no declared group",
            "correct them, declare them as a group, or declare them unknown (groups.unknown)",
        )
        yield Fault(row, message, kind)


def _raise(faults: Sequence[Fault], name: str) -> None:
    if faults:
        raise ManifestError(listed(faults, name))
