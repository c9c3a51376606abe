"""The same case seen in a mirror or turned: for augmentation, and for a vote of its views."""

from dataclasses import replace

from apple_seg.data.cohort import Case
from apple_seg.views import VIEWS


def viewed(case: Case, view: str) -> Case:
    """Return the case in a view: image and mask alike, and the spacing with them.

    Raises:
        ValueError: The image has no such axis.
    """
    how = VIEWS[view]
    if not how.axes:
        return case
    if max(how.axes) >= case.image.ndim - 1:
        raise ValueError(f"{case.key}: an image of {case.image.shape} has no view {view!r}")
    spacing = case.spacing
    if spacing is not None and how.transposed:
        spacing = (spacing[1], spacing[0], *spacing[2:])
    mask = None if case.mask is None else how.of(case.mask)
    return replace(case, image=how.of(case.image), mask=mask, spacing=spacing)
