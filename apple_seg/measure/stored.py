"""Predicted masks that lie in files, so that an audit needs no segmentor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apple_seg.data import Case, Cohort
from apple_seg.data.cohort import KEY, MASK
from apple_seg.data.readers import Volume, read_volume
from apple_seg.data.sources import Source, open_source
from apple_seg.errors import CaseError
from apple_seg.measure.prediction_files import PredictionFiles


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

    def check(self, cohort: Cohort, whole: Cohort | None = None) -> None:
        """Find the file of every case, and open none.

        Args:
            cohort: The cases that are to be scored.
            whole: All cases of the manifest: the file of one of the others is nobody else's.

        Raises:
            CaseError: Files are missing, cannot be told, or are found for two cases; all of them at
                once.
        """
        self._files.check(cohort, whole)

    def file_of(self, row: Mapping[str, Any]) -> str:
        """Return the name of a case's predicted mask, given its row of the cohort's table.

        Raises:
            CaseError: There is none, there are several, or it is the case's true mask or image.
                Whether another case has it too only `check` can see.
        """
        return self._files.file_of(row)

    @cached_property
    def _files(self) -> PredictionFiles:
        return PredictionFiles(source=self.source, truth=self.truth, column=self.column)

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


def stored_masks(
    root: Path | str,
    cohort: Cohort,
    *,
    column: str | None = None,
    whole: Cohort | None = None,
) -> StoredMasks:
    """Open a folder or zip of predicted masks, and find the file of every case of a cohort.

    Args:
        root: Folder, zip, or folder inside a zip.
        cohort: The cases that are to be scored.
        column: See `StoredMasks`.
        whole: All cases of the manifest, where the cohort is one of its splits: a file that is of
            another split's case is then taken for nobody else's.

    Raises:
        CaseError: `root` cannot be opened, or see `StoredMasks.check`.
    """
    source = open_source(Path(root))
    masks = StoredMasks(
        source=source, truth=cohort.source, classes=dict(cohort.classes), column=column
    )
    masks.check(cohort, whole)
    return masks


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


def _is_nifti(name: str) -> bool:
    return name.lower().endswith((".nii", ".nii.gz"))
