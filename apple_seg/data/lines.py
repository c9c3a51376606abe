"""A CSV as numbered lines, and the list of all that is wrong with a table."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

from apple_seg.errors import ManifestError

_SHOWN = 20


class Fault(NamedTuple):
    """One thing wrong with a table of cases."""

    row: int
    """Line of the CSV, the header being line 1; 0 where the whole file is meant."""

    message: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.message}" if self.row else self.message


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
    """Return an error's text: how many faults, and the first of them in the order of the rows."""
    lines = [f"  {fault}" for fault in sorted(faults)[:_SHOWN]]
    if len(faults) > _SHOWN:
        lines.append(f"  ... and {len(faults) - _SHOWN} more")
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return f"{count} in {name}:\n" + "\n".join(lines)
