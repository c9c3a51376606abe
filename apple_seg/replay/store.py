"""Where records lie: in memory, or in memory-mapped shards on disk."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from torch import Tensor

from apple_seg.replay.disk import DiskStore
from apple_seg.replay.layout import (
    Layout,
    Stream,
    as_rows,
    check_records,
    check_there,
    check_write,
    missing,
)

__all__ = ["DiskStore", "Layout", "MemoryStore", "Store", "Stream"]


class Store(Protocol):
    """`records` records of one layout: each is written once, and read often."""

    layout: Layout
    records: int

    def missing(self) -> list[int]:
        """Return the records that are not there, ascending."""

    def write(self, indices: Sequence[int], streams: Mapping[str, Tensor]) -> None:
        """Keep these records; nothing is written unless all of them fit the layout.

        Args:
            indices: Which n records, each once.
            streams: Every stream of the layout as (n, *shape), on any device.

        Raises:
            IndexError: A record is out of range.
            ValueError: The names, dtypes or shapes are not the layout's, or a record comes twice.
            StoreError: They cannot be kept.
        """

    def read(
        self, indices: Sequence[int], into: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return every stream of these records as (n, *shape): new tensors on the CPU, in order.

        Args:
            indices: Which n records.
            into: What an earlier call for n records returned, to be filled anew: taking fresh
                memory from the system costs more than reading does.

        Raises:
            IndexError: A record is out of range.
            StoreError: A record is not there.
        """

    def reload(self) -> None:
        """Look for what other processes have written or cleared since.

        Raises:
            StoreError: It cannot be read, or the disk refuses late what was written.
        """

    def clear(self) -> None:
        """Forget all records; other processes do when they reload.

        Raises:
            StoreError: They cannot be cleared.
        """

    def close(self) -> None:
        """Let go of all that the store holds; what was read stays valid.

        Raises:
            StoreError: The disk refuses late what was written.
        """


class MemoryStore:
    """Records in memory, which is taken as they are written."""

    def __init__(self, layout: Layout, records: int) -> None:
        check_records(records)
        self.layout = layout
        self.records = records
        self._there = np.zeros(records, dtype=np.bool_)
        self._rows = {s.name: np.empty((records, s.nbytes), np.uint8) for s in layout.streams}

    def missing(self) -> list[int]:
        """Return the records that are not there, ascending."""
        return missing(self._there)

    def write(self, indices: Sequence[int], streams: Mapping[str, Tensor]) -> None:
        """Keep these records; see `Store`."""
        check_write(self.layout, self.records, indices, streams)
        places = np.array(indices, dtype=np.int64)
        for name, tensor in streams.items():
            self._rows[name][places] = as_rows(tensor)
        self._there[places] = True

    def read(
        self, indices: Sequence[int], into: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return these records; see `Store`."""
        check_there(self._there, indices)
        places = np.array(indices, dtype=np.int64)
        found = self.layout.empty(len(indices)) if into is None else dict(into)
        for name, tensor in found.items():
            # Any mode but "raise" spares a second copy; the range is checked above.
            self._rows[name].take(places, axis=0, out=as_rows(tensor), mode="clip")
        return found

    def reload(self) -> None:
        """Do nothing: no other process writes here."""

    def clear(self) -> None:
        """Forget all records."""
        self._there[:] = False

    def close(self) -> None:
        """Forget all records, and give back their memory."""
        self.clear()
        self._rows.clear()
