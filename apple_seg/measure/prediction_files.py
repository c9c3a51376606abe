"""Which stored file is the predicted mask of which case."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from apple_seg.data import Cohort
from apple_seg.data.cohort import KEY, MASK
from apple_seg.data.lines import Kind, told
from apple_seg.data.readers import SUFFIXES
from apple_seg.data.sources import FolderSource, Source, ZipSource, plain_name
from apple_seg.errors import CaseError
from apple_seg.names import meant

_COLUMN = "or name each in a column of the manifest (`column` of [predictions])"
_MISSING = Kind(
    "cases without a file",
    f"store each by the path or the name of its true mask or image, {_COLUMN}",
)
_SEVERAL = Kind("cases with several files", f"name the folder of one of them, {_COLUMN}")
_OWN = Kind("cases whose own file was found", f"name the folder of the predictions only, {_COLUMN}")
_SHARED = Kind(
    "cases whose file is found for another case too",
    f"store one for each by the path of its true mask or image, {_COLUMN}",
)


@dataclass(frozen=True, eq=False, kw_only=True)
class PredictionFiles:
    """The files of a folder or zip, case by case; see `StoredMasks` for the rules."""

    source: Source
    """Where the predicted masks lie."""

    truth: Source
    """Where the true masks lie, which must not be taken for predictions."""

    column: str | None = None
    """Of the manifest: the path of each predicted mask."""

    def check(self, cohort: Cohort, whole: Cohort | None = None) -> None:
        """Find the file of every case, and open none.

        Args:
            cohort: The cases that need a file.
            whole: All cases of the manifest: the file of one of the others is nobody else's.

        Raises:
            CaseError: Files are missing, cannot be told, or are found for two cases; all of them at
                once.
        """
        faults: dict[int, _LostError] = {}
        finders: dict[str, dict[int, _Found]] = {}
        for place, row in enumerate(cohort.table.to_dict("records")):
            try:
                found = self._find(row)
                finders.setdefault(found.name, {})[place] = found
                self._refuse_own(row, found.name)
            except _LostError as error:
                faults[place] = error
        for place, found in enumerate(self._of_others(cohort, whole), start=len(cohort)):
            finders.setdefault(found.name, {})[place] = found
        for those in finders.values():
            faults = _shared(those) | faults
        lost = [faults[place] for place in sorted(faults) if place < len(cohort)]
        if lost:
            lines = "\n  ".join(told((one.kind, str(one)) for one in lost))
            raise CaseError(
                f"{len(lost)} of {len(cohort)} cases have no predicted mask of their own in "
                f"{self._roots[0]}:\n  {lines}"
            )

    def file_of(self, row: Mapping[str, Any]) -> str:
        """Return the name of a case's predicted mask, given its row of the cohort's table.

        Raises:
            CaseError: There is none, there are several, or it is the case's true mask or image.
                Whether another case has it too only `check` can see.
        """
        found = self._find(row)
        self._refuse_own(row, found.name)
        return found.name

    def _of_others(self, cohort: Cohort, whole: Cohort | None) -> Iterator["_Found"]:
        """Yield what is found for the cases that need no file."""
        mine = set(cohort.table[KEY])
        for row in [] if whole is None else whole.table.to_dict("records"):
            if row[KEY] not in mine:
                with suppress(_LostError):  # they may well have none
                    yield self._find(row)

    def _find(self, row: Mapping[Any, Any]) -> "_Found":
        key, column = str(row[KEY]), self.column
        if column is None:
            return self._alike(key, _own(row))
        return _Found(key, self._named(key, row, column), exact=False)

    def _refuse_own(self, row: Mapping[Any, Any], found: str) -> None:
        source, truth = self._roots
        if posixpath.join(source, found) in {posixpath.join(truth, name) for name in _own(row)}:
            raise _LostError(
                f"{row[KEY]}: {found} is the case's own file and no prediction; name the folder "
                "that holds the predictions only, or the manifest's column that names them",
                _OWN,
            )

    def _named(self, key: str, row: Mapping[Any, Any], column: str) -> str:
        if column not in row:
            listed = ", ".join(map(str, row))
            raise CaseError(f"no column {column!r}{meant(column, row)}; the columns are: {listed}")
        name = plain_name(row[column]) if isinstance(row[column], str) else ""
        if not name or not self.source.holds(name):
            said = repr(name) if name else "nothing"
            text = f"{key}: the column {column!r} names {said}, which is no file there"
            raise _LostError(text, _MISSING)
        return name

    def _alike(self, key: str, own: Sequence[str]) -> "_Found":
        for name in own:
            if _stem(name) and self.source.holds(name):
                return _Found(key, name, exact=True)
        stems = dict.fromkeys(stem for stem in map(_stem, own) if stem)
        found = [name for stem in stems for name in self._by_stem.get(stem, ())]
        if len(found) > 1:
            raise _LostError(
                f"{key}: {len(found)} files could be its predicted mask: "
                f"{', '.join(found[:5])}; name the folder of one of them, or the manifest's column "
                "that says which",
                _SEVERAL,
            )
        if not found:
            raise _LostError(
                f"{key}: looked for {', '.join(own)}, and in all folders for {' or '.join(stems)} "
                f"with any of {', '.join(SUFFIXES)}",
                _MISSING,
            )
        return _Found(key, found[0], exact=False)

    @cached_property
    def _roots(self) -> tuple[str, str]:
        """Where the two sources lie, the same however one was opened."""
        return _place(self.source), _place(self.truth)

    @cached_property
    def _by_stem(self) -> Mapping[str, list[str]]:
        """The files that can be read, by name without folder and suffix."""
        found: dict[str, list[str]] = {}
        for name in sorted(self.source.names()):
            if stem := _stem(name):
                found.setdefault(stem, []).append(name)
        return found


class _LostError(CaseError):
    """A case has no predicted mask of its own."""

    def __init__(self, message: str, kind: Kind) -> None:
        super().__init__(message)
        self.kind = kind


class _Found(NamedTuple):
    """The file of a case."""

    key: str
    name: str
    exact: bool
    """Whether it has the path of the true mask or the image, and not their name alone."""


def _own(row: Mapping[Any, Any]) -> list[str]:
    """Return the paths of a case's true mask, where it has one, and its image."""
    return [name for name in (str(row[MASK]), str(row[KEY])) if name]


def _shared(finders: Mapping[int, _Found]) -> dict[int, _LostError]:
    """Say what is wrong where several cases found one file, by their places.

    It is the file of the one case that has its path; where none or several have it, of none.
    """
    if len(finders) < 2:
        return {}
    owners = [place for place, found in finders.items() if found.exact]
    faults = {}
    for place, (key, name, _) in finders.items():
        if owners != [place]:
            other = next(one for one in (*owners, *finders) if one != place)
            faults[place] = _LostError(
                f"{key}: {name} is found for {finders[other].key} too, and no prediction is two "
                "cases'; store one for each by the path of its true mask or image, or name each in "
                "a column of the manifest",
                _SHARED,
            )
    return faults


def _place(source: Source) -> str:
    if isinstance(source, FolderSource | ZipSource):
        folder = source.folder if isinstance(source, ZipSource) else ""
        return (source.root.resolve() / folder).as_posix()
    return f"{type(source).__name__} {id(source)}"


def _stem(name: str) -> str:
    """Return a file's name without folder and suffix; "" of what cannot be read."""
    base = posixpath.basename(name)
    ends = [suffix for suffix in SUFFIXES if base.lower().endswith(suffix)]
    return base[: -max(map(len, ends))] if ends else ""
