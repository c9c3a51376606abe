"""Tables as text, and how a metric's numbers are written in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from apple_seg.audit.cases import SIZES
from apple_seg.audit.inference.intervals import Estimate
from apple_seg.measure import METRICS

_LONG = 34
"""Characters of a cell from which its column is prose: it wraps, and stands to the left."""

_NUMBER = tuple("+-<[0123456789")

_TITLES = {"truth_size": "Size of the true mask", "predicted_size": "Size of the predicted mask"}


class Table(NamedTuple):
    """A table of text."""

    title: str
    columns: tuple[str, ...]
    """The first one names the rows."""

    rows: Sequence[tuple[str, ...]]
    note: str = ""

    parts: Mapping[int, str] = MappingProxyType({})
    """Place of a row to the heading that stands before it."""

    @property
    def prose(self) -> frozenset[int]:
        """Places of the columns that hold words, not numbers."""
        return frozenset(
            place
            for place in range(1, len(self.columns))
            if any(len(row[place]) > _LONG for row in self.rows)
            or not any(row[place][:1] in _NUMBER for row in self.rows)
        )


@dataclass(frozen=True)
class Form:
    """How a metric's numbers are written."""

    digits: int = 4
    signed: bool = False

    def number(self, value: float) -> str:
        """Write a number; a dash where there is none."""
        if not np.isfinite(value):
            return "-"
        return f"{value:{'+' if self.signed else ''},.{self.digits}f}"

    def range(self, low: float, high: float) -> str:
        """Write the ends of an interval."""
        return f"[{self.number(low)}, {self.number(high)}]"

    def interval(self, found: Estimate) -> str:
        """Write a value with its interval."""
        if found.n_cases == 0:
            return "no cases"
        if not found.known:
            return f"{self.number(found.value)} [no interval]"
        return f"{self.number(found.value)} {self.range(found.low, found.high)}"

    def bootstrap(self, found: Estimate) -> str:
        """Write the bootstrap's interval."""
        if not np.isfinite(found.bootstrap_low):
            return "-"
        return self.range(found.bootstrap_low, found.bootstrap_high)

    @property
    def difference(self) -> "Form":
        """How differences and changes of such numbers are written: a digit more, with a sign."""
        return Form(self.digits if self.signed or not self.digits else self.digits + 1, signed=True)


def title_of(name: str) -> str:
    """Return what a column is called in prose."""
    return METRICS[name].title if name in METRICS else _TITLES[name]


def form_of(name: str) -> Form:
    """Return how a column's means are written."""
    if name in SIZES:
        return Form(digits=0)
    return Form(digits=1 if METRICS[name].kind == "distance" else 3)


def percent(share: float) -> str:
    """Write a share."""
    return f"{100 * share:.1f} %" if np.isfinite(share) else "-"


def counted(number: int, of: int) -> str:
    """Write a count, and what share of how many it is."""
    return f"{number:,} ({percent(number / of)})" if of and number else f"{number:,}"
