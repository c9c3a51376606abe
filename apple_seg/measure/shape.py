"""What a mask gives away by shape and place: the measure for what its latents may."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from apple_seg.measure.box import box_around

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

_AXES = "hwd"


def shape_names(classes: Sequence[str], dimensions: int) -> tuple[str, ...]:
    """Return what `shape_features` of masks of so many dimensions holds, by name."""
    axes = _AXES[:dimensions]
    names = [
        "empty",
        "size",
        "log_size",
        *(f"centre_{axis}" for axis in axes),
        *(f"from_{axis}" for axis in axes),
        *(f"to_{axis}" for axis in axes),
        "extent",
        *(f"axis_{place}" for place in range(1, dimensions + 1)),
        "elongation",
        "boundary",
        "parts",
        "euler",
        "touches",
    ]
    return tuple(f"{one}.{name}" for one in classes for name in names)


def shape_features(masks: Mask) -> Floats:
    """Describe masks (K, *spatial), 2D or 3D, by (K * F,) finite numbers.

    By class, all relative to the image: whether it is empty; size as a share of the voxels, and
    its logarithm; centre and bounding box as shares of each side; extent (share of its box that
    it fills); half axes of the ellipsoid of equal inertia, longest first, in shares of the mean
    side, and elongation (1 - shortest / longest); voxel faces of the boundary beside those of a
    cube of the same size; numbers of parts and Euler number (parts less holes, plus cavities
    in 3D), in logarithms, signed; whether it touches the image's border. An empty mask has its
    flag, a centre in the middle, and zeros.
    """
    return np.concatenate([_of_class(plane) for plane in masks])


def _of_class(mask: Mask) -> Floats:
    dimensions, sides = mask.ndim, np.array(mask.shape, dtype=float)
    if not mask.any():
        neutral = np.zeros(len(shape_names(["one"], dimensions)))
        neutral[0] = 1
        neutral[1 + 2 : 3 + dimensions] = 0.5
        return neutral
    box = box_around(mask)
    part, start = mask[box], np.array([side.start for side in box])
    cells = np.argwhere(part)
    size, stop = len(cells), start + part.shape
    axes = _half_axes(cells) / sides.prod() ** (1 / dimensions)
    parts, euler = _topology(part)
    numbers = [
        [0.0, size / mask.size, np.log(size / mask.size)],
        (cells.mean(axis=0) + start + 0.5) / sides,
        start / sides,
        stop / sides,
        [size / part.size],
        axes,
        [1 - axes[-1] / axes[0]],
        [_faces(part) / (2 * dimensions * size ** (1 - 1 / dimensions))],
        [np.log1p(parts), np.sign(euler) * np.log1p(abs(euler))],
        [float((start == 0).any() or (stop == sides).any())],
    ]
    return np.concatenate([np.asarray(one, dtype=np.float64) for one in numbers])


def _half_axes(cells: NDArray[np.int64]) -> Floats:
    """Return the half axes of the ellipsoid of equal inertia in voxels, longest first.

    Of the covariance of a uniform ellipsoid: half axis^2 = (dimensions + 2) variance, with 1/12
    for the extent of a voxel itself, so that none is 0.
    """
    dimensions = cells.shape[1]
    covariance = np.cov(cells, rowvar=False, ddof=0).reshape(dimensions, dimensions)
    variances = np.linalg.eigvalsh(covariance).clip(0) + 1 / 12
    return np.asarray(np.sqrt((dimensions + 2) * variances[::-1]))


def _faces(part: Mask) -> int:
    """Count the voxel faces between mask and background; the image's border counts as one."""
    padded = np.pad(part, 1)
    axes = range(part.ndim)
    return sum(int((np.diff(padded.view(np.int8), axis=axis) != 0).sum()) for axis in axes)


def _topology(part: Mask) -> tuple[int, int]:
    """Return the number of parts, touching at corners counted as one, and the Euler number."""
    from skimage.measure import euler_number, label

    padded = np.pad(part, 1)
    return int(label(padded, return_num=True)[1]), int(euler_number(padded))
