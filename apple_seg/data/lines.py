"""A CSV as numbered lines, and the list of all that is wrong with a table."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from apple_seg.errors import ManifestError

_SHOWN = 5
"""Faults of one kind: more of them say nothing new."""


class Kind(NamedTuple):
    """What faults that are alike have in common, for where there are many."""

    what: str = "other faults"
    remedy: str = ""
    """What to do, in the imperative."""


class Fault(NamedTuple):
    """One thing wrong with a table of cases."""

    row: int
    """Line of the CSV, the header being line 1; 0 where the whole file is meant."""

    message: str
    kind: Kind = Kind()

    def __str__(self) -> str:
        return f"row {self.row}: {self.message}" if self.row else self.message


RAGGED = Kind(
    "lines with more or fewer values than the header", "put values that hold commas in quotes"
)


def read_lines(content: bytes, name: str) -> tuple[list[str], dict[int, list[str]]]:
    """Return the header of a CSV, and what is on each line that is not blank, by its number.

    Raises:
        ManifestError: It is no CSV in UTF-8.
    """
    try:
        # With a mark in front, as spreadsheets write it, or without.
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = [column.strip() for column in next(reader, [])]
        lines = {}
        start = reader.line_num + 1
        for line in reader:
            if any(value.strip() for value in line):
                lines[start] = line
            start = reader.line_num + 1
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{name} is not a CSV in UTF-8: {error}") from error
    return header, lines


def listed(faults: Sequence[Fault], name: str) -> str:
    """Return an error's text: how many faults, and the first of each kind."""
    lines = told((fault.kind, str(fault)) for fault in sorted(faults))
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return f"{count} in {name}:\n" + "\n".join(f"  {line}" for line in lines)


def told(faults: Iterable[tuple[Kind, str]]) -> list[str]:
    """Return a line a fault, in their order; of a flood by kind, and the first few of each kind."""
    kinds: dict[Kind, list[str]] = {}
    lines = []
    for kind, line in faults:
        kinds.setdefault(kind, []).append(line)
        lines.append(line)
    if max(map(len, kinds.values()), default=0) <= _SHOWN:
        return lines
    found = []
    for kind, those in kinds.items():
        remedy = f"; {kind.remedy}" if kind.remedy else ""
        more = len(those) - _SHOWN
        found += [f"{kind.what} ({len(those):,}){remedy}:", *(f"  {one}" for one in those[:_SHOWN])]
        found += [f"  and {more:,} more"] if more > 0 else []
    return found
