"""The box around what a mask holds."""

import numpy as np
from numpy.typing import NDArray


def box_around(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the least box that holds all of a mask (*spatial), which is not empty, to cut by."""
    box: tuple[slice, ...] = ()
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        box += (slice(int(filled[0]), int(filled[-1]) + 1),)
        mask = mask[(slice(None),) * axis + (box[axis],)]  # less is left to look at
    return box
