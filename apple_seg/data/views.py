"""The same case seen in a mirror: views, for augmentation."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from apple_seg.data.cohort import Case

VIEWS: Mapping[str, tuple[int, ...]] = {
    "as-is": (),
    "flip-h": (0,),
    "flip-w": (1,),
    "flip-hw": (0, 1),
    "flip-d": (2,),
}
"""The views that settings may name, and the spatial axes (H, W, D) that each reverses."""


def viewed(case: Case, view: str) -> Case:
    """Return the case in a view: image and mask mirrored alike.

    Raises:
        ValueError: The image has no such axis.
    """
    axes = VIEWS[view]
    if not axes:
        return case
    if max(axes) >= case.image.ndim - 1:
        raise ValueError(f"{case.key}: an image of {case.image.shape} has no view {view!r}")
    places = tuple(axis + 1 for axis in axes)
    mask = None if case.mask is None else np.flip(case.mask, places).copy()
    return replace(case, image=np.flip(case.image, places).copy(), mask=mask)
