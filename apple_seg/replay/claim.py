"""Whose a folder of records is: its header, and the lock of those who use it."""

import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apple_seg.errors import StoreError
from apple_seg.files import to_json, write_text
from apple_seg.replay.layout import Layout

FORMAT = 1
KIND = "apple_seg records"
_HEADER = "header.json"
_OURS = re.compile(r"\.header\.json\.\d+\.part|shard-\d{4,}\.bin|journal-\d+\.txt")
_SHOWN = 60  # characters of a value


def header_of(layout: Layout, records: int, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Say what a store holds, as JSON reads it back."""
    streams = [[s.name, s.shape, str(s.dtype).removeprefix("torch.")] for s in layout.streams]
    header = {
        "kind": KIND,
        "format": FORMAT,
        "identity": dict(identity),
        "layout": streams,
        "records": records,
    }
    plain: dict[str, Any] = json.loads(to_json(header))
    return plain


def claim(folder: Path, header: Mapping[str, Any]) -> tuple[int | None, str]:
    """Make `folder` a store with this header, and clear it of ours where it has another.

    Whoever uses a store shares a lock on it, and only who is alone may clear it.

    Args:
        folder: Made where it is missing; files that are not a store's stay.
        header: As JSON has it.

    Returns:
        The lock, None where the disk has none, to be closed at the end; and why the folder was
        cleared, "" if it was not.

    Raises:
        OSError: The folder cannot be made, read or written.
        StoreError: Another process uses another store there, the files there are not ours, or
            the system lacks what stores need.
    """
    if not hasattr(os, "pwrite"):
        raise StoreError("records on disk need a POSIX system; keep them in memory here")
    folder.mkdir(parents=True, exist_ok=True)
    lock, changed = _open_lock(folder), ""
    try:
        for _ in range(20):
            if _locks(lock, alone=True):
                changed = _prepare(folder, header) or changed
            # Between the two locks another process may come first: look again.
            _locks(lock, alone=False)
            if (difference := _difference(folder, header)) is None:
                return lock, changed
            time.sleep(0.05)
        raise StoreError(
            f"{folder} is in use for other records ({difference}): wait until the process or the "
            "store that uses it is closed, or name another folder"
        )
    except BaseException:
        if lock is not None:
            os.close(lock)
        raise


def discard_records(folder: Path) -> None:
    """Delete the records below a folder, but for those that somebody uses; other files stay.

    Where a disk has no locks nobody knows who uses what, and all is left.

    Args:
        folder: Of a store, or above stores; need not be there.

    Raises:
        OSError: A file cannot be read or deleted.
    """
    for header in sorted(folder.rglob(_HEADER)):
        lock = _open_lock(header.parent) if _is_header(header) else None
        if lock is None:
            continue
        try:
            if _locks(lock, alone=True, without=False):
                # The header goes last: ours without one would be taken for another's.
                for path in [*_ours(header.parent), header]:
                    path.unlink()
        finally:
            os.close(lock)


def _is_header(path: Path) -> bool:
    try:
        said = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("kind") == KIND


def _open_lock(folder: Path) -> int | None:
    try:
        return os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # read-only, or full: what is complete can be read all the same
        return None


def _locks(lock: int | None, *, alone: bool, without: bool = True) -> bool:
    """Lock for all (at once or not at all), or for us alone; `without` where there are no locks."""
    import fcntl  # not on Windows, where records in memory remain

    if lock is None:
        return without
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
    except BlockingIOError:
        return False
    except OSError:  # some network drives have none; the checksums protect what is read
        return without
    return True


def _prepare(folder: Path, header: Mapping[str, Any]) -> str:
    difference = _difference(folder, header)
    if difference is None:
        return ""
    # The header is replaced last: files of ours without one would be taken for another's.
    for path in _ours(folder):
        path.unlink()
    write_text(folder / _HEADER, to_json(header))
    return difference


def _ours(folder: Path) -> list[Path]:
    """Return the store's files, but for its header and its lock."""
    return [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]


def _difference(folder: Path, header: Mapping[str, Any]) -> str | None:
    """Say how the store in `folder` differs from `header`: None if not, "" if there is none."""
    path = folder / _HEADER
    try:
        said = json.loads(path.read_bytes())
    except FileNotFoundError:
        if others := [path.name for path in _ours(folder) if path.suffix != ".part"]:
            raise StoreError(
                f"{folder} holds {min(others)} and no {_HEADER}, which no store of ours does: "
                "remove such files, or name another folder"
            ) from None
        return ""
    except ValueError:
        return f"{_HEADER} is unreadable"
    if not isinstance(said, dict) or said.get("kind") != header["kind"]:
        raise StoreError(f"{path} was not written by apple_seg: name another folder")
    changes = _changes(said, header, but="identity")
    changes += _changes(said.get("identity"), header["identity"])
    return ", ".join(changes) or None


def _changes(was: Any, now: Mapping[str, Any], but: str = "") -> list[str]:
    """Say which keys have other values; of long ones the place where they part is shown."""
    was = was if isinstance(was, dict) else {}
    changes = []
    for key in sorted({*was, *now} - {but}):
        # As text: Python takes 1 and true for the same.
        texts = [
            json.dumps(part[key], ensure_ascii=False, sort_keys=True) if key in part else "absent"
            for part in (was, now)
        ]
        if texts[0] != texts[1]:
            start = _parting(*texts) if max(map(len, texts)) > _SHOWN else 0
            changes.append(f"{key} was {_cut(texts[0], start)}, is {_cut(texts[1], start)}")
    return changes


def _parting(was: str, now: str) -> int:
    """Return where to start showing two texts, so that their first difference is seen."""
    same = [a == b for a, b in zip(was, now, strict=False)]
    parted = same.index(False) if False in same else len(same)
    return max(0, parted - _SHOWN // 3)


def _cut(text: str, start: int) -> str:
    before, after = start > 0, len(text) > start + _SHOWN
    return "..." * before + text[start : start + _SHOWN] + "..." * after
