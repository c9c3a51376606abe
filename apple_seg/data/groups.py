"""Which group each case belongs to, as declared before anything is measured."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import isfinite
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apple_seg.data.cohort import KEY
from apple_seg.errors import GroupError
from apple_seg.names import meant

UNKNOWN = -1
"""The code of a case whose attribute is not known: in the overall figures, in no group."""


UNKNOWN_WORDS = ("", "unknown", "nan", "na", "n/a", "none")
"""What a column says, in small letters, where nothing is known and nothing else is declared."""

_SHOWN = 5


class GroupFault(NamedTuple):
    """A value that fits no declared group."""

    row: int
    """Position in the table, from 0."""

    message: str
    column: str


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Groups of cases by one attribute, or by the crossing of several.

    `Groups(by={"age": [60]}, reference="age < 60")` cuts a number;
    `Groups(by={"sex": ["female", "male"]}, reference="sex = male")` lists a column's values;
    both in one `by` give the crossing, with labels such as `"age < 60, sex = male"`.
    """

    by: Mapping[str, Sequence[float] | Sequence[str]]
    """Column to cuts (ascending numbers) or to values (strings)."""

    reference: str
    """The label that differences are taken from: reference minus group. Declared, never picked.
    Blanks may be left out: `"age<60"` is read as `"age < 60"`."""

    unknown: Sequence[str] = UNKNOWN_WORDS
    """What a column says, in any case, where the attribute is not known."""

    def __post_init__(self) -> None:
        if not self.by:
            raise GroupError("no attribute to group by; declare e.g. by={'age': [60]}")
        for column, declared in self.by.items():
            _check_declaration(column, declared, self.unknown_words)
        object.__setattr__(self, "reference", _label(self.reference, self.labels))

    @property
    def unknown_words(self) -> frozenset[str]:
        """What a column says where nothing is known, in small letters."""
        return frozenset(word.strip().lower() for word in self.unknown)

    @property
    def attribute(self) -> str:
        """Name what the cases are grouped by: `"age"`, or `"age x sex"` for a crossing."""
        return " x ".join(self.by)

    @property
    def labels(self) -> tuple[str, ...]:
        """The groups' labels; a group's code is its place here."""
        per_column = [_column_labels(column, declared) for column, declared in self.by.items()]
        return tuple(", ".join(parts) for parts in product(*per_column))

    @property
    def reference_code(self) -> int:
        """The code of the reference group."""
        return self.labels.index(self.reference)

    def codes(self, table: pd.DataFrame) -> NDArray[np.int64]:
        """Return each row's group code (N,), or `UNKNOWN`.

        Raises:
            GroupError: A column is missing, or a value fits no declared group.
        """
        codes, faults = self.assign(table)
        if faults:
            shown = "; ".join(f"{_name(table, one.row)}: {one.message}" for one in faults[:_SHOWN])
            more = f"; and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
            count = "1 value fits" if len(faults) == 1 else f"{len(faults):,} values fit"
            raise GroupError(
                f"{count} no declared group: {shown}{more}. Correct them, declare them as groups, "
                "or declare them as unknown"
            )
        return codes

    def assign(self, table: pd.DataFrame) -> tuple[NDArray[np.int64], list[GroupFault]]:
        """Return the codes (N,) and the values that fit no declared group."""
        if missing := [column for column in self.by if column not in table.columns]:
            named = (f"{column!r}{meant(column, table.columns)}" for column in missing)
            raise GroupError(
                f"no column {', '.join(named)} to group by; "
                f"the columns are: {', '.join(map(str, table.columns))}; a table of further ones "
                "is joined to scores by --attributes FILE --on COLUMN"
            )
        codes = np.zeros(len(table), dtype=np.int64)
        known = np.ones(len(table), dtype=bool)
        faults: list[GroupFault] = []
        for column, declared in self.by.items():
            part, bad = self._assign_column(table[column], declared)
            known &= part != UNKNOWN
            codes = codes * len(_column_labels(column, declared)) + part
            faults += bad
        return np.where(known, codes, UNKNOWN), sorted(faults)

    def _assign_column(
        self, values: pd.Series, declared: Sequence[float] | Sequence[str]
    ) -> tuple[NDArray[np.int64], list[GroupFault]]:
        text = values.astype("string").fillna("").str.strip()
        known = ~text.str.lower().isin(self.unknown_words)
        codes = np.full(len(text), UNKNOWN, dtype=np.int64)
        if isinstance(declared[0], str):
            places = {str(value): code for code, value in enumerate(declared)}
            codes[:] = text.map(places).fillna(UNKNOWN).astype(int)
            expected = f"not one of {', '.join(map(repr, declared))}"
        else:
            numbers = pd.to_numeric(text, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
            finite = np.isfinite(numbers)
            codes[finite] = np.digitize(numbers[finite], np.asarray(declared, dtype=float))
            expected = "not a number"
        lost = np.flatnonzero(known.to_numpy() & (codes == UNKNOWN))
        name = str(values.name)
        said = (f"{name} is {value!r}, {expected}" for value in text.iloc[lost])
        faults = [GroupFault(int(row), one, name) for row, one in zip(lost, said, strict=True)]
        return np.where(known.to_numpy(), codes, UNKNOWN), faults


def _label(given: str, labels: Sequence[str]) -> str:
    """Return the label that is meant, blanks aside.

    Raises:
        GroupError: It is none, or could be several.
    """
    alike = [one for one in labels if "".join(one.split()) == "".join(given.split())]
    if given in labels or len(alike) == 1:
        return given if given in labels else alike[0]
    what = "could be several" if alike else "is not one"
    # Where the columns differ nobody knows which of the two is misspelt.
    hint = meant(given, labels) if any(_columns(given) == _columns(one) for one in labels) else ""
    raise GroupError(
        f"the reference {given!r}{hint} {what} of the declared groups: "
        + ", ".join(map(repr, labels))
    )


def _columns(label: str) -> set[str]:
    """Return the names that a label compares with something."""
    return {*re.findall(r"([^\s,<>=]+)\s*[<>=]", label)}


def _name(table: pd.DataFrame, row: int) -> str:
    """Return what a row goes by: its case, else its place counted from 1."""
    return f"case {table[KEY].iloc[row]}" if KEY in table else f"row {row + 1} of the table"


def _check_declaration(
    column: str, declared: Sequence[float] | Sequence[str], unknown: frozenset[str]
) -> None:
    if isinstance(declared, str) or not declared:
        raise GroupError(
            f"{column}: list its values, or the numbers to cut it at; got {declared!r}"
        )
    words = [value for value in declared if isinstance(value, str)]
    if len(words) == len(declared):
        if len(set(words)) < max(2, len(words)):
            raise GroupError(f"{column}: two different values at least, got {words}")
        if lost := [word for word in words if word.strip().lower() in unknown]:
            raise GroupError(f"{column}: {lost} is declared as a group and as unknown")
        return
    cuts = [value for value in declared if isinstance(value, int | float) and isfinite(value)]
    if len(cuts) != len(declared) or sorted(set(cuts)) != cuts:
        raise GroupError(
            f"{column}: a list of ascending numbers (cuts), or of strings (values), "
            f"got {list(declared)}"
        )


def _column_labels(column: str, declared: Sequence[float] | Sequence[str]) -> list[str]:
    if isinstance(declared[0], str):
        return [f"{column} = {value}" for value in declared]
    cuts = [f"{float(cut):.12g}" for cut in declared]
    between = [f"{low} <= {column} < {high}" for low, high in pairwise(cuts)]
    return [f"{column} < {cuts[0]}", *between, f"{column} >= {cuts[-1]}"]
