"""A view mirrors image and mask alike."""

import dataclasses

import numpy as np
import pytest

from apple_seg.data import VIEWS, viewed
from cohorts import toy_cohort


@pytest.mark.parametrize(
    ("view", "mirrored"),
    [
        ("flip-h", lambda array: array[:, ::-1]),
        ("flip-w", lambda array: array[:, :, ::-1]),
        ("flip-hw", lambda array: array[:, ::-1, ::-1]),
    ],
)
def test_image_and_mask_are_mirrored_along_the_named_axes(view, mirrored):
    case = toy_cohort(1)[0]
    seen = viewed(case, view)
    np.testing.assert_array_equal(seen.image, mirrored(case.image))
    np.testing.assert_array_equal(seen.mask, mirrored(case.mask))
    assert not np.array_equal(seen.image, case.image)
    again = viewed(seen, view)
    np.testing.assert_array_equal(again.mask, case.mask)


def test_depth_is_mirrored_in_volumes_and_refused_in_images():
    case = toy_cohort(1)[0]
    volume = np.arange(24.0, dtype=np.float32).reshape(1, 2, 3, 4)
    deep = dataclasses.replace(case, image=volume, mask=volume > 5)
    np.testing.assert_array_equal(viewed(deep, "flip-d").image, volume[..., ::-1])
    with pytest.raises(ValueError, match=r"has no view 'flip-d'"):
        viewed(case, "flip-d")


def test_as_is_changes_nothing_and_a_case_without_mask_has_none():
    case = toy_cohort(1)[0]
    assert viewed(case, "as-is") is case
    bare = dataclasses.replace(case, mask=None)
    assert viewed(bare, "flip-h").mask is None
    assert next(iter(VIEWS)) == "as-is"
