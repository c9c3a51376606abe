"""Records in memory-mapped shards on disk: resumed, verified, and never silently stale."""

import errno
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from apple_seg.errors import StoreError
from apple_seg.replay.claim import claim, header_of
from apple_seg.replay.layout import (
    Layout,
    as_rows,
    check_records,
    check_there,
    check_write,
    missing,
)
from apple_seg.replay.shards import Shards

_VERIFIED_AT_ONCE = 2**24  # bytes


class DiskStore:
    """Records in a folder: resumed after a kill, verified when opened, recorded anew when stale.

    Several processes may write disjoint records at once, each as a `writer` of its own. Reading
    goes through memory maps, so the memory taken does not depend on the number of records. Not
    for Windows. Make one with `open`.
    """

    def __init__(self, layout: Layout, shards: Shards, *, progress: bool, description: str) -> None:
        self.layout = layout
        self.records = shards.records
        self.folder = shards.folder
        self.found = ""
        """What `open` found, as a sentence; "" where nothing was there."""
        self._shards = shards
        self._there = np.zeros(shards.records, dtype=np.bool_)
        self._hidden = None if progress else True  # None: only where somebody looks
        self._description = description
        self._space_checked = False

    @classmethod
    def open(
        cls,
        folder: Path,
        layout: Layout,
        records: int,
        *,
        identity: Mapping[str, Any],
        writer: int = 0,
        progress: bool = True,
        description: str = "Verifying records",
    ) -> "DiskStore":
        """Open the store in `folder`, verify every record in it, or start it.

        A store of another identity, layout or number of records is removed and recorded anew, as
        `found` then says; files in `folder` that are not the store's stay.

        Args:
            folder: Made where it is missing.
            layout: What every record holds.
            records: How many.
            identity: What the records are made from, as plain JSON values.
            writer: The number of this process among those that write at once, from 0.
            progress: Show a bar while records are verified.
            description: What the bar says.

        Raises:
            ValueError: There are no records, or the writer's number is negative.
            StoreError: The folder cannot be used, or is in use for other records.
        """
        check_records(records)
        header = header_of(layout, records, identity)
        seed = zlib.crc32(json.dumps(header, sort_keys=True).encode())
        shards = Shards(folder, records, layout.record_bytes, seed=seed, writer=writer)
        store = cls(layout, shards, progress=progress, description=description)
        with store._explained("opened"):
            lock, changed = claim(folder, header)
            shards.hold(lock)
            store.found = store._describe(changed, store._verify())
        return store

    def missing(self) -> list[int]:
        """Return the records that are not there, ascending."""
        return missing(self._there)

    def reload(self) -> None:
        """Look for what other processes have written or cleared since, and verify what is new.

        Raises:
            StoreError: The journals cannot be read, or the disk refuses late what was written.
        """
        self._check_open()
        with self._explained("read"):
            self._shards.settle()
            self._verify()

    def clear(self) -> None:
        """Forget all records; other processes do when they reload.

        Raises:
            StoreError: The journals cannot be cleared.
        """
        self._check_open()
        with self._explained("cleared"):
            self._shards.forget()
        self._there[:] = False

    def check_space(self) -> None:
        """Check that the records that are missing fit on the disk.

        Raises:
            StoreError: They do not; says how much is needed, and how much is free.
        """
        with self._explained("measured"):
            free = shutil.disk_usage(self.folder).free
            # A damaged record has its place already.
            unallocated = self.records * self.layout.record_bytes - self._shards.allocated()
            needed = min(self._needed(), max(0, unallocated))
        if needed > free:
            raise StoreError(
                f"the records need {_size(needed)}, and the disk of {self.folder} has "
                f"{_size(free)} free: free space, or name another folder"
            )
        self._space_checked = True

    def write(self, indices: Sequence[int], streams: Mapping[str, Tensor]) -> None:
        """Keep these records; see `Store`. The first call checks the space on the disk."""
        self._check_open()
        check_write(self.layout, self.records, indices, streams)
        if not self._space_checked:
            self.check_space()
        rows = {name: as_rows(tensor) for name, tensor in streams.items()}
        content = np.zeros(self.layout.record_bytes, dtype=np.uint8)
        for place, index in enumerate(indices):
            for name, start in self.layout.offsets.items():
                row = rows[name][place]
                content[start : start + len(row)] = row
            self._there[index] = False
            try:
                self._shards.write(index, content)
            except OSError as error:
                raise StoreError(self._refused(error)) from error
            self._there[index] = True

    def read(
        self, indices: Sequence[int], into: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return these records; see `Store`. Each byte is copied once."""
        self._check_open()
        check_there(self._there, indices)
        found = self.layout.empty(len(indices)) if into is None else dict(into)
        rows = [(as_rows(found[name]), start) for name, start in self.layout.offsets.items()]
        for place, index in enumerate(indices):
            content = self._shards.view(index)
            if content is None:
                raise StoreError(f"{self.folder} was changed: record {index} is gone. Open it anew")
            for row, start in rows:
                row[place] = content[start : start + row.shape[1]]
        return found

    def close(self) -> None:
        """Give back files and lock; what was read stays valid.

        Raises:
            StoreError: The disk refuses late what was written.
        """
        with self._explained("closed"):
            self._shards.close()

    def _verify(self) -> int:
        """Verify what is journaled and not known to be there; return how many are damaged."""
        sums = self._shards.journaled()
        gone = [record for record in np.flatnonzero(self._there) if int(record) not in sums]
        self._there[gone] = False  # cleared by another process
        new = sorted(record for record in sums if not self._there[record])
        step = max(1, _VERIFIED_AT_ONCE // self.layout.record_bytes)
        blocks = [new[start : start + step] for start in range(0, len(new), step)]

        def whole(block: list[int]) -> list[int]:
            return [record for record in block if self._shards.is_whole(record, sums[record])]

        bar = tqdm(total=len(new), desc=self._description, disable=self._hidden, leave=False)
        with bar, ThreadPoolExecutor(os.cpu_count()) as threads:
            for block, good in zip(blocks, threads.map(whole, blocks), strict=True):
                self._there[good] = True
                bar.update(len(block))
        return len(new) - int(self._there[new].sum())

    def _describe(self, changed: str, damaged: int) -> str:
        there = int(self._there.sum())
        if changed:
            return f"recorded anew: {changed}"
        if there == self.records:
            return "complete"
        parts = []
        if there and there + damaged < self.records:
            parts.append(f"resumed: {there} of {self.records} records are there")
        if damaged:
            parts.append(f"{damaged} of {self.records} records are damaged and recorded anew")
        return "; ".join(parts)

    def _needed(self) -> int:
        return int((~self._there).sum()) * self.layout.record_bytes

    def _refused(self, error: OSError) -> str:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = f"the disk of {self.folder} is full" if full else f"cannot write to {self.folder}"
        remedy = "Free space" if full else "Mend that"
        return (
            f"{what} ({error.strerror}): {int(self._there.sum())} of {self.records} records are "
            f"kept, the others need {_size(self._needed())} more. {remedy} or name another "
            "folder, then start again: what is there is kept."
        )

    def _check_open(self) -> None:
        if self._shards.closed:
            raise StoreError(f"the store in {self.folder} is closed; open it anew")

    @contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"the store in {self.folder} cannot be {done} ({error}): mend that, or name "
                "another folder"
            ) from error


def _size(nbytes: int) -> str:
    """Write a number of bytes with the unit that suits it."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= factor:
            return f"{nbytes / factor:,.1f} {unit}"
    return f"{nbytes} bytes"
