"""Which cases make up the batches of an epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Draw(NamedTuple):
    """One case as it is drawn for a batch."""

    place: int
    """In the cohort."""

    view: int = 0
    """Among the views of the settings."""

    prompt: int = 0
    """Among the prompts drawn for a case and view."""


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Draws the batches of any epoch, by seed and epoch alone: a resumed fit draws the same."""

    codes: NDArray[np.int64]
    """(N,) groups; -1 where unknown."""

    batch_size: int
    seed: int
    views: int = 1
    prompts: int = 1

    draws: int | None = None
    """Cases drawn an epoch, none a second time before all have come once; None for as many as there
    are."""

    balanced: bool = False
    """Whether each group is drawn equally often; cases of unknown group are then left out."""

    masked: NDArray[np.bool_] | None = None
    """(N,), whether a case has a true mask; None where that is not looked at."""

    labelled: float = 0.0
    """At least this share of draws is of cases that have one, where others have none."""

    @property
    def batches(self) -> int:
        """How many batches an epoch has; what does not fill one is left out."""
        return self._length // self.batch_size

    @property
    def _length(self) -> int:
        return self.draws or len(self.codes)

    def epoch(self, epoch: int) -> list[list[Draw]]:
        """Return the batches of one epoch, each of `batch_size` draws."""
        rng = np.random.default_rng([self.seed, epoch])
        order = self._order(rng)
        views = rng.integers(self.views, size=len(order))
        prompts = rng.integers(self.prompts, size=len(order))
        draws = [Draw(*map(int, drawn)) for drawn in zip(order, views, prompts, strict=True)]
        starts = range(0, self.batches * self.batch_size, self.batch_size)
        return [draws[start : start + self.batch_size] for start in starts]

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the places of the cases drawn."""
        if self.balanced:
            return self._balanced(rng)
        share = 0.0 if self.masked is None else self.masked.mean()
        if self.masked is not None and 0 < share < self.labelled:
            wanted = round(self.labelled * self._length)
            true = _repeated(np.flatnonzero(self.masked), wanted, rng)
            rest = _repeated(np.flatnonzero(~self.masked), self._length - wanted, rng)
            return rng.permutation(np.concatenate([true, rest]))
        return _repeated(np.arange(len(self.codes)), self._length, rng)

    def _balanced(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return places, equally many of each group: large ones in part, small ones repeated."""
        groups = [code for code in np.unique(self.codes) if code >= 0]
        share = -(-self._length // len(groups))
        chosen = [_repeated(np.flatnonzero(self.codes == code), share, rng) for code in groups]
        return rng.permutation(np.concatenate(chosen))[: self._length]


def _repeated(
    places: NDArray[np.int64], wanted: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return so many of `places`; none comes a second time before all have come once."""
    rounds = [rng.permutation(places) for _ in range(-(-wanted // len(places)))]
    return np.concatenate(rounds)[:wanted]


def part_of(batch: Sequence[Draw], rank: int, processes: int) -> Sequence[Draw]:
    """Return one process's part of a batch; together they have it whole, in order."""
    size = len(batch) // processes
    return batch[rank * size : (rank + 1) * size]
