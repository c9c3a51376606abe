"""A CSV of cases to a checked cohort: every fault is found before work starts, all at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from apple_seg.data.cohort import CLUSTER, KEY, MASK, SPLIT, Cohort
from apple_seg.data.faults import (
    case_faults,
    foreign_values,
    group_faults,
    header_faults,
    missing_files,
    table_faults,
)
from apple_seg.data.groups import Groups
from apple_seg.data.lines import RAGGED, Fault, listed, read_lines
from apple_seg.data.sources import Source, open_source, plain_name
from apple_seg.errors import ManifestError

TEST = "test"
"""The split of all cases where none is declared: audits read it, fits do not."""


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
        _raise([*faults, *table_faults(table), *missing_files(table, source)], self.manifest)
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
        missing = list(missing_files(table, source))
        faults += [*table_faults(table), *missing, *group_faults(cohort, groups, splits)]
        seen = {fault.row - 2 for fault in missing}
        rest = cohort.take(table.index[~table.index.isin(seen)].to_numpy())
        _raise([*faults, *case_faults(rest, splits, progress)], self.manifest)
        return cohort

    def _read_table(self, source: Source) -> tuple[pd.DataFrame, list[Fault]]:
        """Return the table, a row labelled by its line in the file less 2, and its bad lines."""
        header, lines = read_lines(self._open(source), self.manifest)
        optional = {CLUSTER: self.cluster, SPLIT: self.split, MASK: self.mask}
        roles = {KEY: self.image} | {role: name for role, name in optional.items() if name}
        faults = list(header_faults(header, roles))
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
    _raise([one for by in groups for one in foreign_values(table, by.assign(table)[1])], name)


def check(cohort: Cohort, groups: Groups, *, splits: Sequence[str], progress: bool = True) -> None:
    """Read every case of the named splits once, and find whatever would fail later.

    Raises:
        ManifestError: Unreadable images, sizes that differ, mask values outside the classes,
            attribute values that fit no group, groups without a case; all at once.
    """
    faults = [*group_faults(cohort, groups, splits), *case_faults(cohort, splits, progress)]
    _raise(faults, "the cohort")


def _raise(faults: Sequence[Fault], name: str) -> None:
    if faults:
        raise ManifestError(listed(faults, name))
