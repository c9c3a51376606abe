"""Image and mask files to arrays: PNG, JPEG, TIFF, NPY, NPZ, NIfTI and DICOM."""

import gzip
import io
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apple_seg.errors import CaseError


class Volume(NamedTuple):
    """What one file holds."""

    array: NDArray[Any]
    """(H, W) or (H, W, D), and channels last where `channels_last`; NIfTI's axes are R, A, S."""

    spacing: tuple[float, ...] | None = None
    """Millimetres a voxel, in the order of the spatial axes; None where the file does not say."""

    channels_last: bool = False
    """Whether the last axis is colour."""

    affine: NDArray[np.float64] | None = None
    """(4, 4) voxel to world in millimetres, for NIfTI; its axes are not rows and columns."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape."""
        return self.array.shape[:-1] if self.channels_last else self.array.shape


def read_volume(name: str, content: bytes, *, labels: bool = False) -> Volume:
    """Decode one file by its suffix; of a mask (`labels`), the values and not what they look like.

    Raises:
        CaseError: The suffix is unknown or the content cannot be decoded.
    """
    decode = _decoder(name, labels)
    try:
        volume = decode(content)
    except ImportError:
        raise
    except Exception as error:
        raise CaseError(f"{name}: unreadable ({type(error).__name__}: {error})") from error
    if volume.array.dtype.kind not in "biuf" or volume.array.size == 0:
        raise CaseError(
            f"{name}: holds {volume.array.dtype} of shape {volume.array.shape}, not numbers"
        )
    if len(volume.shape) not in (2, 3):
        raise CaseError(f"{name}: has {len(volume.shape)} spatial axes, expected 2 or 3")
    return volume


def _decoder(name: str, labels: bool) -> Callable[[bytes], Volume]:
    decoders = _LABEL_DECODERS if labels else _DECODERS
    for suffix, decode in decoders.items():
        if name.lower().endswith(suffix):
            return decode
    raise CaseError(f"{name}: no reader for this suffix; known are: {', '.join(decoders)}")


_AS_STORED = {"1", "L", "I", "F", "RGB", "I;16", "I;16B", "I;16L", "I;16N"}
"""Pillow's modes whose numbers are what they mean."""

_CONVERTED = {"LA": "L", "La": "L", "P": "RGB", "PA": "RGB", "RGBA": "RGB", "RGBa": "RGB"}
_CONVERTED |= {"RGBX": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}


def _decode_picture(content: bytes) -> Volume:
    array, mode = _picture(content, keep=_AS_STORED)
    return Volume(array, channels_last=mode == "RGB")


def _decode_label_picture(content: bytes) -> Volume:
    """Read a palette's indices, and grey from colour where the colours are grey."""
    array, mode = _picture(content, keep=_AS_STORED | {"P", "LA", "RGBA"})
    if mode in ("LA", "RGBA"):
        if (array[..., -1] != array.flat[-1]).any():
            raise ValueError("its transparency varies; save the mask as one grey channel")
        array = array[..., :-1]
    if array.ndim == 3:
        if (array != array[..., :1]).any():
            raise ValueError("it is in colour; save the mask as one grey channel of class values")
        array = array[..., 0]
    return Volume(array.astype(np.uint8) if mode == "1" else array)


def _picture(content: bytes, keep: set[str]) -> tuple[NDArray[Any], str]:
    from PIL import Image

    if content[:4] == b"\x89PNG" and content[24] == 16 and content[25] != 0:
        raise ValueError("16-bit colour, of which Pillow keeps 8 bits; save it as NPY")
    with Image.open(io.BytesIO(content)) as picture:
        if picture.format == "TIFF" and getattr(picture, "n_frames", 1) > 1:
            raise ValueError("more than one page; save a volume as NIfTI or NPY")
        if picture.mode in keep:
            return np.asarray(picture), picture.mode
        if picture.mode not in _CONVERTED:
            raise ValueError(f"pictures of mode {picture.mode} are not read; save it as RGB")
        converted = picture.convert(_CONVERTED[picture.mode])
        return np.asarray(converted), converted.mode


_PARSING = Lock()
"""NumPy parses its header as Python, which CPython 3.11 cannot do in two threads at once: now and
then it raises "AST constructor recursion depth mismatch" (python/cpython#106905)."""


def _decode_numpy(content: bytes) -> Volume:
    """Read (H, W), (H, W, D), (H, W, 3 or 4) as colour, or (H, W, D, channels)."""
    with _PARSING:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
    if isinstance(loaded, Mapping):
        if len(loaded) != 1:
            raise ValueError(f"an npz must hold one array, this one holds {sorted(loaded)}")
        loaded = loaded[next(iter(loaded))]
    colour = loaded.ndim == 4 or (loaded.ndim == 3 and loaded.shape[-1] in (3, 4))
    return Volume(loaded, channels_last=colour)


def _decode_numpy_labels(content: bytes) -> Volume:
    """Read class values; one colour axis of length 1 may be left over."""
    array = _decode_numpy(content).array
    if array.ndim > 2 and array.shape[-1] == 1:
        array = array[..., 0]
    return Volume(array.astype(np.uint8) if array.dtype == bool else array)


def _decode_nifti(content: bytes) -> Volume:
    """Read a volume in the closest axes to R, A, S; a single slice as it is stored."""
    import nibabel

    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    second = content[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")
    image = (nibabel.Nifti2Image if second else nibabel.Nifti1Image).from_bytes(content)
    if image.ndim > 2 and 1 not in image.shape[:3]:
        image = nibabel.as_closest_canonical(image)
    array = np.asarray(image.dataobj)
    if array.dtype.names:
        array = np.stack([array[name] for name in array.dtype.names], -1)
    if array.ndim > 3 and array.shape[3] == 1:
        array = np.squeeze(array, 3)
    unit = {"meter": 1e3, "micron": 1e-3}.get(image.header.get_xyzt_units()[0], 1.0)
    axes = list(range(min(3, array.ndim)))
    if array.ndim > 2 and 1 in array.shape[:3]:
        flat = max(axis for axis in axes if array.shape[axis] == 1)
        array = np.squeeze(array, flat)
        axes.remove(flat)
    spacing = tuple(float(image.header.get_zooms()[axis]) * unit for axis in axes)
    columns = [*axes, *sorted({0, 1, 2} - {*axes}), 3]
    return Volume(
        array,
        spacing,
        channels_last=array.ndim > len(axes),
        affine=np.diag([unit, unit, unit, 1.0]) @ image.affine[:, columns],
    )


def _decode_dicom(content: bytes) -> Volume:
    """Read one frame, so that more is brighter, after the rescaling that the file declares."""
    return _dicom(content, labels=False)


def _decode_dicom_labels(content: bytes) -> Volume:
    """Read one frame's stored values."""
    return _dicom(content, labels=True)


def _dicom(content: bytes, *, labels: bool) -> Volume:
    import pydicom
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

    data = pydicom.dcmread(io.BytesIO(content))
    if int(data.get("NumberOfFrames") or 1) > 1:
        raise ValueError("more than one frame; save a volume as NIfTI, frames as single files")
    array = data.pixel_array
    photometric = data.get("PhotometricInterpretation")
    if photometric == "PALETTE COLOR" and not labels:
        array = apply_color_lut(array, data)
    elif not labels:
        if photometric == "MONOCHROME1":
            signed = int(data.PixelRepresentation)
            array = (0 if signed else 1 << int(data.BitsStored)) - 1 - array.astype(np.int64)
        array = np.asarray(apply_modality_lut(array, data))
    # Rows first, as the array has them; on the detector where the patient's is not given.
    spacing = data.get("PixelSpacing") or data.get("ImagerPixelSpacing")
    millimetres = None if spacing is None else tuple(float(size) for size in spacing)
    return Volume(array, millimetres, channels_last=array.ndim == 3)


_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_DECODERS: dict[str, Callable[[bytes], Volume]] = {
    **dict.fromkeys(_PICTURES, _decode_picture),
    ".npy": _decode_numpy,
    ".npz": _decode_numpy,
    ".nii": _decode_nifti,
    ".nii.gz": _decode_nifti,
    ".dcm": _decode_dicom,
}
_LABEL_DECODERS = _DECODERS | {
    **dict.fromkeys(_PICTURES, _decode_label_picture),
    ".npy": _decode_numpy_labels,
    ".npz": _decode_numpy_labels,
    ".dcm": _decode_dicom_labels,
}

SUFFIXES = tuple(_DECODERS)
"""What files are called that can be read."""
