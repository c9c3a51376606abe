"""What a fit knows of each case: its group by each attribute, and attributes that are numbers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apple_seg.data import Groups
from apple_seg.errors import GroupError


@dataclass(frozen=True, eq=False)
class Attributes:
    """How rows of a table become groups and numbers; the scale of the numbers is the train cases'.

    The first attribute is the one that the epoch is chosen for and that batches are balanced by.
    There may be none: a fit that only uses losses, by a team that may not record attributes.
    """

    groups: tuple[Groups, ...]
    numbers: tuple[str, ...]
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, train: pd.DataFrame, groups: Sequence[Groups], numbers: Sequence[str]) -> Self:
        """Learn the numbers' scale.

        Raises:
            GroupError: There is no such column, or fewer than two different numbers in it.
        """
        values = _read(train, numbers)
        centre, scale = np.zeros(len(numbers)), np.ones(len(numbers))
        for place, name in enumerate(numbers):
            known = values[np.isfinite(values[:, place]), place]
            if len(np.unique(known)) < 2:
                raise GroupError(f"{name} has fewer than two different numbers to learn from")
            centre[place], scale[place] = known.mean(), known.std()
        return cls(tuple(groups), tuple(numbers), centre, scale)

    @property
    def first(self) -> Groups | None:
        """The groups that a fit is made for."""
        return self.groups[0] if self.groups else None

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many groups each attribute has."""
        return tuple(len(one.labels) for one in self.groups)

    def codes(self, table: pd.DataFrame) -> NDArray[np.int64]:
        """Return the code of each case's group by each attribute (N, attributes); -1: unknown.

        Raises:
            GroupError: A column is missing, or a value fits no declared group.
        """
        columns = [one.codes(table) for one in self.groups]
        return np.stack(columns, 1) if columns else np.zeros((len(table), 0), dtype=np.int64)

    def counts(self, table: pd.DataFrame) -> list[list[int]]:
        """Return how many cases are of each group, an attribute each."""
        codes = self.codes(table)
        return [
            [int((codes[:, place] == code).sum()) for code in range(len(one.labels))]
            for place, one in enumerate(self.groups)
        ]

    def standardised(self, table: pd.DataFrame) -> NDArray[np.float32]:
        """Return the numbers (N, numbers) in deviations from the mean; NaN where unknown."""
        return ((_read(table, self.numbers) - self.centre) / self.scale).astype(np.float32)

    def identity(self) -> dict[str, Any]:
        """Return what makes another fit another one, as plain values."""
        return {"groups": [asdict(one) for one in self.groups], "numbers": list(self.numbers)}


def _read(table: pd.DataFrame, numbers: Sequence[str]) -> NDArray[np.float64]:
    if missing := [name for name in numbers if name not in table.columns]:
        raise GroupError(
            f"no column {', '.join(map(repr, missing))} of numbers; "
            f"the columns are: {', '.join(map(str, table.columns))}"
        )
    columns = [pd.to_numeric(table[name], errors="coerce").to_numpy(float) for name in numbers]
    return np.stack(columns, 1) if columns else np.zeros((len(table), 0))
