"""Predicted masks that lie in files, so that an audit needs no segmentor."""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apple_seg.data import Case, Cohort
from apple_seg.data.cohort import KEY, MASK
from apple_seg.data.readers import SUFFIXES, Volume, read_volume
from apple_seg.data.sources import FolderSource, Source, ZipSource, open_source, plain_name
from apple_seg.errors import CaseError

_SHOWN = 20


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredMasks:
    """Predicted masks in a folder or zip: a `Predict` that reads a file a case.

    A case's file is the one that `column` names; without a column the file of the same path as the
    true mask, else as the image, else the only one of the name of either, whatever its folder and
    suffix. No two cases have one file, which `check` sees to. Its values mean what they mean in
    the true masks. Where there is one class, a file that holds 0 and 1, or 0 and 255, is taken for
    absent and present whatever value is declared.
    """

    source: Source
    """Where the predicted masks lie."""

    truth: Source
    """Where the true masks lie, which must not be taken for predictions."""

    classes: Mapping[str, int]
    """The cohort's."""

    column: str | None = None
    """Of the manifest: the path of each predicted mask."""

    def __call__(self, cases: Sequence[Case]) -> list[NDArray[np.bool_]]:
        """Read the masks (K, *spatial) of cases.

        Raises:
            CaseError: A file is missing, cannot be told, holds other values than the classes', or
                does not lie on the true mask's grid.
        """
        return [self._read(case) for case in cases]

    def check(self, cohort: Cohort) -> None:
        """Find the file of every case, and open none.

        Raises:
            CaseError: Files are missing, cannot be told, or are found for two cases; all of them at
                once.
        """
        faults: dict[int, str] = {}
        finders: dict[str, dict[int, _Found]] = {}
        for place, row in enumerate(cohort.table.to_dict("records")):
            try:
                found = self._find(row)
                finders.setdefault(found.name, {})[place] = found
                self._refuse_own(row, found.name)
            except CaseError as error:
                faults[place] = str(error)
        for those in finders.values():
            faults = _shared(those) | faults
        if faults:
            told = [faults[place] for place in sorted(faults)]
            more = [f"... and {len(told) - _SHOWN} more"] if len(told) > _SHOWN else []
            listed = "\n  ".join([*told[:_SHOWN], *more])
            raise CaseError(
                f"{len(told)} of {len(cohort)} cases have no predicted mask of their own in "
                f"{self._roots[0]}:\n  {listed}"
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

    def _find(self, row: Mapping[Any, Any]) -> "_Found":
        key, column = str(row[KEY]), self.column
        if column is None:
            return self._alike(key, _own(row))
        return _Found(key, self._named(key, row, column), exact=False)

    def _refuse_own(self, row: Mapping[Any, Any], found: str) -> None:
        source, truth = self._roots
        if posixpath.join(source, found) in {posixpath.join(truth, name) for name in _own(row)}:
            raise CaseError(
                f"{row[KEY]}: {found} is the case's own file and no prediction; name the folder "
                "that holds the predictions only, or the manifest's column that names them"
            )

    def _named(self, key: str, row: Mapping[Any, Any], column: str) -> str:
        if column not in row:
            listed = ", ".join(map(str, row))
            raise CaseError(f"{key}: no column {column!r}; the columns are: {listed}")
        name = plain_name(row[column]) if isinstance(row[column], str) else ""
        if not name or not self.source.holds(name):
            said = repr(name) if name else "nothing"
            raise CaseError(f"{key}: the column {column!r} names {said}, which is no file there")
        return name

    def _alike(self, key: str, own: Sequence[str]) -> "_Found":
        for name in own:
            if _stem(name) and self.source.holds(name):
                return _Found(key, name, exact=True)
        stems = dict.fromkeys(stem for stem in map(_stem, own) if stem)
        found = [name for stem in stems for name in self._by_stem.get(stem, ())]
        if len(found) > 1:
            raise CaseError(
                f"{key}: {len(found)} files could be its predicted mask: "
                f"{', '.join(found[:5])}; name the folder of one of them, or the manifest's column "
                "that says which"
            )
        if not found:
            named = " or ".join(stems)
            raise CaseError(
                f"{key}: looked for {', '.join(own)}, and in all folders for {named} with any of "
                f"{', '.join(SUFFIXES)}"
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

    def _read(self, case: Case) -> NDArray[np.bool_]:
        row = {MASK: "", **case.row, KEY: case.key}
        name, mask = self.file_of(row), str(row[MASK])
        volume = _volume(self.source, name)
        expected = (case.image if case.mask is None else case.mask).shape[1:]
        if volume.channels_last or volume.array.shape != expected:
            raise CaseError(
                f"{name}: the prediction is {volume.array.shape}, the true mask of {case.key} is "
                f"{expected}; store predictions on the grid of the true mask, one value a voxel"
            )
        if _is_nifti(name) != _is_nifti(mask or case.key):
            raise CaseError(
                f"{name}: of the prediction and the true mask {mask} one is NIfTI, and its axes "
                "are not the other's rows and columns; convert both to one format"
            )
        if volume.affine is not None and mask:
            _check_place(name, volume, _volume(self.truth, mask))
        return _planes(name, volume.array, self.classes)


def stored_masks(root: Path | str, cohort: Cohort, *, column: str | None = None) -> StoredMasks:
    """Open a folder or zip of predicted masks, and find the file of every case of a cohort.

    Args:
        root: Folder, zip, or folder inside a zip.
        cohort: The cases that are to be scored.
        column: See `StoredMasks`.

    Raises:
        CaseError: `root` cannot be opened, or see `StoredMasks.check`.
    """
    source = open_source(Path(root))
    masks = StoredMasks(
        source=source, truth=cohort.source, classes=dict(cohort.classes), column=column
    )
    masks.check(cohort)
    return masks


class _Found(NamedTuple):
    """The file of a case."""

    key: str
    name: str
    exact: bool
    """Whether it has the path of the true mask or the image, and not their name alone."""


def _own(row: Mapping[Any, Any]) -> list[str]:
    """Return the paths of a case's true mask, where it has one, and its image."""
    return [name for name in (str(row[MASK]), str(row[KEY])) if name]


def _shared(finders: Mapping[int, _Found]) -> dict[int, str]:
    """Say what is wrong where several cases found one file, by their places in the cohort.

    It is the file of the one case that has its path; where none or several have it, of none.
    """
    if len(finders) < 2:
        return {}
    owners = [place for place, found in finders.items() if found.exact]
    faults = {}
    for place, (key, name, _) in finders.items():
        if owners != [place]:
            other = next(one for one in (*owners, *finders) if one != place)
            faults[place] = (
                f"{key}: {name} is found for {finders[other].key} too, and no prediction is two "
                "cases'; store one for each by the path of its true mask or image, or name each in "
                "a column of the manifest"
            )
    return faults


def _planes(name: str, labels: NDArray[Any], classes: Mapping[str, int]) -> NDArray[np.bool_]:
    """Return (K, *spatial), a plane a class."""
    declared, filled = list(classes.values()), np.count_nonzero(labels)
    for values in [declared] if len(declared) > 1 else [declared, [1], [255]]:
        planes = np.stack([labels == value for value in values])
        if np.count_nonzero(planes) == filled:
            return planes
    foreign = labels[(labels != 0) & ~np.isin(labels, declared)]
    found = ", ".join(f"{value:g}" for value in np.unique(foreign)[:5])
    raise CaseError(
        f"{name}: the prediction holds {found}, the declared classes are {dict(classes)} (and 0 "
        "for background); store class values, not probabilities, as in the true masks"
    )


def _check_place(name: str, predicted: Volume, truth: Volume) -> None:
    """Raise unless two NIfTI masks lie at the same place: equal shapes are not enough."""
    if predicted.affine is None or truth.affine is None:
        return
    corners = np.array([*np.ndindex(2, 2, 2)]) * (np.array([*truth.shape, 1][:3]) - 1)
    apart = predicted.affine - truth.affine
    shift = np.abs(corners @ apart[:3, :3].T + apart[:3, 3]).max()
    if shift > np.linalg.norm(truth.affine[:3, :3], axis=0).min() / 2:
        raise CaseError(
            f"{name}: lies up to {shift:.1f} mm from the true mask, by their headers; resample the "
            "prediction to its grid, or mend the wrong header"
        )


def _volume(source: Source, name: str) -> Volume:
    try:
        content = source.open(name)
    except (OSError, KeyError) as error:
        raise CaseError(f"{name}: missing ({error})") from error
    return read_volume(name, content, labels=True)


def _place(source: Source) -> str:
    if isinstance(source, FolderSource | ZipSource):
        folder = source.folder if isinstance(source, ZipSource) else ""
        return (source.root.resolve() / folder).as_posix()
    return f"{type(source).__name__} {id(source)}"


def _is_nifti(name: str) -> bool:
    return name.lower().endswith((".nii", ".nii.gz"))


def _stem(name: str) -> str:
    """Return a file's name without folder and suffix; "" of what cannot be read."""
    base = posixpath.basename(name)
    ends = [suffix for suffix in SUFFIXES if base.lower().endswith(suffix)]
    return base[: -max(map(len, ends))] if ends else ""
