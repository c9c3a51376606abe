"""The cases that something is measured or fitted on, read one at a time."""

import gzip
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apple_seg.data.readers import Volume, read_volume
from apple_seg.data.sources import Source
from apple_seg.errors import CaseError

KEY, CLUSTER, MASK, SPLIT = "case", "cluster", "mask", "split"
"""The columns that every cohort's table has; MASK is "" where a case has no mask."""


@dataclass(frozen=True, eq=False)
class Case:
    """One image with its mask and attributes."""

    key: str
    """Names the case in every table: the image's path in the manifest."""

    cluster: str
    """What its errors are shared with: the patient, or what stands for one."""

    image: NDArray[np.float32]
    """(C, *spatial), values as stored in the file."""

    mask: NDArray[np.bool_] | None
    """(K, *spatial), one plane a class; None where the case is not annotated."""

    spacing: tuple[float, ...] | None
    """Millimetres a voxel of `image`; None where the file does not say."""

    row: Mapping[str, Any]
    """The manifest's columns."""


class Drawn(NamedTuple):
    """A mask, eight voxels a byte."""

    bits: NDArray[np.uint8]
    shape: tuple[int, ...]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The planes (K, *spatial)."""
        size = int(np.prod(self.shape))
        return np.unpackbits(self.bits, count=size).astype(bool).reshape(self.shape)


@dataclass(frozen=True, eq=False)
class Cohort:
    """A table of cases whose images are read when asked for, so that memory does not grow."""

    table: pd.DataFrame
    """A row a case: `case`, `cluster`, `mask`, `split` and the manifest's own columns."""

    source: Source
    """Where the images and masks lie."""

    classes: Mapping[str, int]
    """Class name to its value in the mask files; 0 is background."""

    images: bool = True
    """Whether the images are read; see `without_images`."""

    drawn: Mapping[str, "Drawn"] | None = None
    """Masks by case that stand for those in files; see `with_masks`."""

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Case:
        return self._read(self._rows[index])

    def __iter__(self) -> Iterator[Case]:
        return (self[index] for index in range(len(self)))

    @property
    def clusters(self) -> NDArray[Any]:
        """(N,) the cluster of each case."""
        return self.table[CLUSTER].to_numpy()

    @property
    def annotated(self) -> bool:
        """Whether every case has a mask."""
        return self.drawn is not None or bool((self.table[MASK] != "").all())

    def split(self, name: str) -> Self:
        """Return the cases of one split.

        Raises:
            CaseError: No case is in it.
        """
        part = self.table[self.table[SPLIT] == name]
        if part.empty:
            known = ", ".join(sorted(map(repr, self.table[SPLIT].unique())))
            raise CaseError(f"no case in split {name!r}; the splits are: {known}")
        return self.take(part.index.to_numpy())

    def take(self, rows: NDArray[Any]) -> Self:
        """Return the cases of the given row labels, in that order."""
        return replace(self, table=self.table.loc[rows])

    def digest(self) -> str:
        """Hash which cases these are and what is said of them; not the pixels."""
        content = self.table.astype("string").fillna("").to_csv(index=False)
        return hashlib.sha256(f"{dict(self.classes)}\n{content}".encode()).hexdigest()

    def stamp(self, columns: Sequence[str] = ()) -> str:
        """Hash which cases these are, the stamps of their files, and some of what is said of them.

        What was computed from the images and masks is up to date as long as it stays the same. The
        files are not read; see `Source.stamp`.

        Args:
            columns: Of the table, where what was computed depends on them too.

        Raises:
            CaseError: A file is missing.
        """
        said = self.table[[KEY, MASK, *columns]].astype("string").fillna("").to_csv(index=False)
        content = hashlib.sha256(f"{dict(self.classes)}\n{said}".encode())
        for name in (*self.table[KEY], *self.table[MASK]):
            content.update(f"{self._stamp(str(name))}\n".encode())
        if self.drawn is not None:
            for name in self.table[KEY]:
                bits, shape = self.drawn[name]
                content.update(f"{shape}\n".encode() + bits.tobytes())
        return content.hexdigest()

    def without_images(self) -> Self:
        """Return the same cases with masks, spacing and rows, for work that needs no image.

        `Case.image` is NaN, (1, *spatial) on the mask's grid, and takes no memory. That image and
        mask lie on one grid is not checked again. Where the format of an image may tell its spacing
        the file is opened: of NIfTI the header is decoded and no voxel, DICOM is read whole.
        A case without a mask is a CaseError when it is read.
        """
        return replace(self, images=False)

    def with_masks(self, masks: Iterable[NDArray[np.bool_]]) -> Self:
        """Return the same cases with other masks, a case each (K, *spatial), held in memory."""
        packed = [Drawn(np.packbits(mask), mask.shape) for mask in masks]
        return replace(self, drawn=dict(zip(self.table[KEY], packed, strict=True)))

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        """The table's rows: a look into the table itself costs more than reading a small mask."""
        return [
            {str(name): value for name, value in row.items()}
            for row in self.table.to_dict("records")
        ]

    def _read(self, row: Mapping[str, Any]) -> Case:
        name, mask_name = str(row[KEY]), str(row[MASK])
        if not self.images:
            return self._read_without_image(row)
        volume = read_volume(name, self._open(name))
        image = _channels_first(volume)
        if not np.isfinite(image).all():
            raise CaseError(f"{name}: {int((~np.isfinite(image)).sum())} values are not finite")
        mask, spacing = None, volume.spacing
        if self.drawn is not None:
            mask = self.drawn[name].mask
        elif mask_name:
            labels = read_volume(mask_name, self._open(mask_name), labels=True)
            _match(mask_name, labels, volume)
            mask = self._planes(mask_name, labels.array)
            spacing = spacing or labels.spacing
        return Case(name, str(row[CLUSTER]), image, mask, spacing, {**row})

    def _read_without_image(self, row: Mapping[str, Any]) -> Case:
        name, mask_name = str(row[KEY]), str(row[MASK])
        if self.drawn is not None:
            mask = self.drawn[name].mask
            image = np.broadcast_to(np.float32(np.nan), (1, *mask.shape[1:]))
            return Case(name, str(row[CLUSTER]), image, mask, self._spacing(name), {**row})
        if not mask_name:
            raise CaseError(
                f"{name}: has no mask, and of a case whose image is not read nothing else is left; "
                "annotate it, or take it out of the cohort"
            )
        labels = read_volume(mask_name, self._open(mask_name), labels=True)
        mask = self._planes(mask_name, labels.array)
        image = np.broadcast_to(np.float32(np.nan), (1, *mask.shape[1:]))
        spacing = self._spacing(name) or labels.spacing
        return Case(name, str(row[CLUSTER]), image, mask, spacing, {**row})

    def _spacing(self, name: str) -> tuple[float, ...] | None:
        """Return what the file of an image says of its spacing."""
        if name.lower().endswith((".nii", ".nii.gz")):
            return read_volume(name, _first_voxels(name, self._open(name))).spacing
        return (
            read_volume(name, self._open(name)).spacing if name.lower().endswith(".dcm") else None
        )

    def _stamp(self, name: str) -> str:
        try:
            return self.source.stamp(name) if name else ""
        except (OSError, KeyError) as error:
            raise CaseError(f"{name}: missing ({error})") from error

    def _planes(self, name: str, labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Return (K, *spatial), a plane a class."""
        planes = np.stack([labels == value for value in self.classes.values()])
        foreign = labels[~(planes.any(0) | (labels == 0))]
        if foreign.size:
            found = ", ".join(f"{value:g}" for value in np.unique(foreign)[:5])
            raise CaseError(
                f"{name}: mask holds {found}, the declared classes are {dict(self.classes)} "
                "(and 0 for background); declare each class with the value it has in the files"
            )
        return planes

    def _open(self, name: str) -> bytes:
        try:
            return self.source.open(name)
        except (OSError, KeyError) as error:
            raise CaseError(f"{name}: missing ({error})") from error


def _first_voxels(name: str, content: bytes) -> bytes:
    """Return a NIfTI file of the same header with at most two voxels along each axis.

    Its spacing is read as that of the whole is, axes put in order and flat ones left out.
    """
    import nibabel

    try:
        start = content[:540]
        if start[:2] == b"\x1f\x8b":
            start = gzip.GzipFile(fileobj=io.BytesIO(content)).read(540)
        second = start[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")
        kind: Any = nibabel.Nifti2Image if second else nibabel.Nifti1Image
        header = kind.header_class.from_fileobj(io.BytesIO(start), check=False)
        voxels = np.zeros([min(size, 2) for size in header.get_data_shape()], np.uint8)
        header.set_data_shape(voxels.shape)
        header.set_data_dtype(voxels.dtype)
        return bytes(kind(voxels, None, header).to_bytes())
    except Exception as error:
        raise CaseError(f"{name}: unreadable ({type(error).__name__}: {error})") from error


def _match(name: str, labels: Volume, image: Volume) -> None:
    """Raise unless the mask lies on the image's grid: equal shapes are not enough."""
    if labels.channels_last or labels.array.shape != image.shape:
        raise CaseError(
            f"{name}: mask is {labels.array.shape}, its image is {image.shape}; "
            "a mask has one value a voxel (of colour images, the channels come last)"
        )
    if (labels.affine is None) != (image.affine is None):
        raise CaseError(
            f"{name}: of image and mask one is NIfTI, and its axes are not the other's rows and "
            "columns; convert both to one format"
        )
    if labels.affine is not None and image.affine is not None:
        corners = np.array([*np.ndindex(2, 2, 2)]) * (np.array([*image.shape, 1][:3]) - 1)
        moved = corners @ (labels.affine - image.affine)[:3, :3].T
        moved += (labels.affine - image.affine)[:3, 3]
        shift, voxel = np.abs(moved).max(), np.linalg.norm(image.affine[:3, :3], axis=0).min()
        if shift > voxel / 2:
            raise CaseError(
                f"{name}: lies up to {shift:.1f} mm from its image, by their headers; "
                "resample the mask to the image's grid, or mend the wrong header"
            )
    if labels.spacing and image.spacing and not np.allclose(labels.spacing, image.spacing, 0.02):
        raise CaseError(f"{name}: spacing is {labels.spacing} mm, its image's is {image.spacing}")


def _channels_first(volume: Volume) -> NDArray[np.float32]:
    """Return (C, *spatial) in float32."""
    array = np.moveaxis(volume.array, -1, 0) if volume.channels_last else volume.array[None]
    with np.errstate(over="ignore"):  # too large becomes infinite, which is told to the user
        return np.ascontiguousarray(array, dtype=np.float32)
