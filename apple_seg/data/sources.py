"""Where the files of a cohort lie: in a folder, inside a zip, or in memory."""

import os
import posixpath
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from apple_seg.errors import CaseError


class Source(Protocol):
    """Where the files of a cohort lie."""

    def names(self) -> frozenset[str]:
        """Return the names of all files, relative to the root, with forward slashes."""

    def holds(self, name: str) -> bool:
        """Say whether there is a file called `name`."""

    def open(self, name: str) -> bytes:
        """Return the content of the file called `name`.

        Raises:
            KeyError, OSError: There is none.
            CaseError: It is damaged.
        """

    def stamp(self, name: str) -> str:
        """Return what changes when the content of the file called `name` does, without reading it.

        Raises:
            KeyError, OSError: There is none.
        """


def plain_name(name: str) -> str:
    """Return a file's name with forward slashes and without `./`, as sources have it."""
    name = name.strip().replace("\\", "/")
    return posixpath.normpath(name) if name else ""


class FolderSource:
    """Files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> frozenset[str]:
        """List the files below the root."""
        files = (path for path in self.root.rglob("*") if path.is_file())
        return frozenset(path.relative_to(self.root).as_posix() for path in files)

    def holds(self, name: str) -> bool:
        """Look for the file itself: folders may be links, and hold much else."""
        return (self.root / name).is_file()

    def open(self, name: str) -> bytes:
        """Read a file whole."""
        return (self.root / name).read_bytes()

    def stamp(self, name: str) -> str:
        """Return size and time of the last change; a copy of the file may have another."""
        found = (self.root / name).stat()
        if not stat.S_ISREG(found.st_mode):
            raise FileNotFoundError(f"{self.root / name} is no file")
        return f"{found.st_size} bytes of {found.st_mtime_ns} ns"


class ZipSource:
    """Files inside a zip, read in place; to be shared by threads, forks and pickles."""

    def __init__(self, root: Path, folder: str = "") -> None:
        self.root = root
        self.folder = folder
        self._connect()

    def _connect(self) -> None:
        self._lock = Lock()
        self._process = os.getpid()
        self._zip = zipfile.ZipFile(self.root)
        start = f"{self.folder}/" if self.folder else ""
        # Some archivers write backslashes, or `./` in front.
        entries = {plain_name(info.filename): info for info in self._files()}
        self._entries = {
            name.removeprefix(start): info
            for name, info in entries.items()
            if name.startswith(start)
        }

    def _files(self) -> list[zipfile.ZipInfo]:
        return [info for info in self._zip.infolist() if not info.filename.endswith(("/", "\\"))]

    def names(self) -> frozenset[str]:
        """List the files of the archive."""
        return frozenset(self._entries)

    def holds(self, name: str) -> bool:
        """Look in the archive's list."""
        return name in self._entries

    def open(self, name: str) -> bytes:
        """Read a file whole; the archive's checksum is verified on the way."""
        if os.getpid() != self._process:
            # A forked worker shares the file's position with its parent: open it anew.
            self._connect()
        with self._lock:
            try:
                return self._zip.read(self._entries[name])
            except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
                raise CaseError(f"{name}: damaged or locked in {self.root} ({error})") from error

    def stamp(self, name: str) -> str:
        """Return size and checksum, as the archive's list has them."""
        entry = self._entries[name]
        return f"{entry.file_size} bytes of CRC {entry.CRC:08x}"

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.root, self.folder = state["root"], state["folder"]
        self._connect()


class MemorySource:
    """Files held in memory, by name."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    def names(self) -> frozenset[str]:
        """List the files."""
        return frozenset(self.files)

    def holds(self, name: str) -> bool:
        """Look among the names."""
        return name in self.files

    def open(self, name: str) -> bytes:
        """Return a file's content."""
        return self.files[name]

    def stamp(self, name: str) -> str:
        """Return size and checksum, as a zip of these files would."""
        content = self.files[name]
        return f"{len(content)} bytes of CRC {zlib.crc32(content):08x}"


def open_source(root: Path) -> Source:
    """Return the source for `root`: a folder, a zip, or a folder inside a zip (`a.zip/cases`).

    Raises:
        CaseError: `root` is none of these.
    """
    if root.is_dir():
        return FolderSource(root)
    for archive in (root, *root.parents):
        if archive.is_file() and zipfile.is_zipfile(archive):
            folder = root.relative_to(archive).as_posix()
            source = ZipSource(archive, "" if folder == "." else folder)
            if source.names():
                return source
            raise CaseError(f"cannot read cases from {root}: {archive} holds no file in {folder!r}")
    found = "neither a folder nor a zip" if root.exists() else "no such file or folder"
    raise CaseError(f"cannot read cases from {root}: {found}. Name a folder or a .zip file.")
