"""Records of one size in a few large files, with a journal of those that were written whole."""

import contextlib
import os
import re
import weakref
import zlib
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

SHARD_BYTES = 2**28
_MAPS = 128  # each keeps its file open, and a process may open a thousand, or 256
_LINE = re.compile(r"(\d{1,18}) ([0-9a-f]{8})")

Bytes = NDArray[np.uint8]


class Shards:
    """`records` slots of `record_bytes` bytes in files of at most 256 MB, or of one record.

    A record is written once its checksum stands in its writer's journal: bytes first, then the
    line, so whoever is killed between the two leaves no record. The checksums start from `seed`,
    which says what the records were made from: lines of another store match nothing here.
    """

    def __init__(
        self, folder: Path, records: int, record_bytes: int, *, seed: int, writer: int
    ) -> None:
        if writer < 0:
            raise ValueError(f"writers are numbered from 0, got {writer}")
        self.folder = folder
        self.records = records
        self.record_bytes = record_bytes
        self.seed = seed
        self._journal = folder / f"journal-{writer}.txt"
        self._per_shard = max(1, SHARD_BYTES // record_bytes)
        self._maps: dict[int, Bytes] = {}
        self._lock = Lock()
        # One shard at a time: a store may have more of them than a process may open files.
        self._files: dict[str, tuple[Path, int]] = {}
        self._finalizer = weakref.finalize(self, _close_all, self._files)

    def hold(self, lock: int | None) -> None:
        """Keep the lock that `claim` returned until `close`."""
        if lock is not None:
            self._files["lock"] = (self.folder, lock)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return not self._finalizer.alive

    def checksum(self, content: Bytes) -> int:
        """Return the CRC-32 of a record's bytes, started from `seed`."""
        return zlib.crc32(content.data, self.seed)

    def write(self, record: int, content: Bytes) -> None:
        """Write a record's bytes, then its line in the journal.

        Raises:
            OSError: The disk took only a part of them, or none.
        """
        shard, start = self._place(record)
        file = self._file("shard", self._path(shard))
        left = content.data
        while left:
            # A disk that fills up takes a part first, and refuses the rest at the next call.
            taken = os.pwrite(file, left, start)
            left, start = left[taken:], start + taken
        self._append(f"{record} {self.checksum(content):08x}\n".encode())

    def _append(self, line: bytes) -> None:
        file = self._file("journal", self._journal, os.O_APPEND)
        size = os.fstat(file).st_size
        torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        left = memoryview(b"\n" + line if torn else line)
        while left:
            left = left[os.write(file, left) :]

    def view(self, record: int) -> Bytes | None:
        """Return a record's bytes in place, read-only; None where its file ends before them.

        Beyond a file's end a memory map kills the process, hence the look at its length.
        """
        shard, start = self._place(record)
        end = start + self.record_bytes
        mapped = self._maps.get(shard)
        if mapped is None or len(mapped) < end:  # it may have grown since
            mapped = self._map(shard)
        return mapped[start:end] if len(mapped) >= end else None

    def _map(self, shard: int) -> Bytes:
        mapped: Bytes = np.empty(0, dtype=np.uint8)
        with contextlib.suppress(FileNotFoundError), self._path(shard).open("rb") as file:
            if os.fstat(file.fileno()).st_size:  # numpy maps no empty file
                mapped = np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))
        with self._lock:
            self._maps[shard] = mapped
            if len(self._maps) > _MAPS:
                del self._maps[next(iter(self._maps))]
        return mapped

    def journaled(self) -> dict[int, set[int]]:
        """Return the checksums that any writer has journaled, by record.

        A record may have several, of several writers: it is whole if its bytes match one of them.
        """
        sums: dict[int, set[int]] = {}
        for path in self.folder.glob("journal-*.txt"):
            for line in path.read_text(encoding="ascii", errors="replace").splitlines():
                match = _LINE.fullmatch(line)
                if match and int(match[1]) < self.records:
                    sums.setdefault(int(match[1]), set()).add(int(match[2], 16))
        return sums

    def forget(self) -> None:
        """Empty the journals of all writers; the shards keep their place on the disk."""
        for path in self.folder.glob("journal-*.txt"):
            os.truncate(path, 0)  # not removed: another process may hold it open

    def is_whole(self, record: int, sums: set[int]) -> bool:
        """Say whether a record's bytes match one of `sums`."""
        content = self.view(record)
        return content is not None and self.checksum(content) in sums

    def allocated(self) -> int:
        """Return the bytes that the shards take on the disk, without their holes."""
        return sum(path.stat().st_blocks * 512 for path in self.folder.glob("shard-*.bin"))

    def settle(self) -> None:
        """Close the files written to.

        Raises:
            OSError: A network drive refuses now what it seemed to take.
        """
        for role in ("shard", "journal"):
            self._close(role)

    def close(self) -> None:
        """Give back files, maps and lock."""
        try:
            self.settle()
        finally:
            self._maps.clear()
            self._finalizer()

    def _place(self, record: int) -> tuple[int, int]:
        shard, slot = divmod(record, self._per_shard)
        return shard, slot * self.record_bytes

    def _path(self, shard: int) -> Path:
        return self.folder / f"shard-{shard:04d}.bin"

    def _file(self, role: str, path: Path, flags: int = 0) -> int:
        if role not in self._files or self._files[role][0] != path:
            self._close(role)
            self._files[role] = (path, os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666))
        return self._files[role][1]

    def _close(self, role: str) -> None:
        if role in self._files:
            os.close(self._files.pop(role)[1])


def _close_all(files: dict[str, tuple[Path, int]]) -> None:
    while files:
        with contextlib.suppress(OSError):  # nobody is left to tell
            os.close(files.popitem()[1][1])
