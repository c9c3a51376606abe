"""A view mirrors or turns image and mask alike."""

import dataclasses

import numpy as np
import pytest

from apple_seg.data import viewed
from apple_seg.views import VIEWS
from cohorts import toy_cohort


@pytest.mark.parametrize(
    ("view", "mirrored"),
    [
        ("flip-h", lambda array: array[:, ::-1]),
        ("flip-w", lambda array: array[:, :, ::-1]),
        ("flip-hw", lambda array: np.rot90(array, 2, (1, 2))),
        ("transpose", lambda array: array.swapaxes(1, 2)),
        ("antitranspose", lambda array: np.rot90(array, 2, (1, 2)).swapaxes(1, 2)),
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


@pytest.mark.parametrize(("view", "quarters"), [("turn-90", 1), ("turn-270", 3)])
def test_a_turn_takes_mask_and_spacing_with_it(view, quarters):
    image = np.arange(6.0, dtype=np.float32).reshape(1, 2, 3)
    case = dataclasses.replace(toy_cohort(1)[0], image=image, mask=image > 2, spacing=(1.0, 5.0))
    seen = viewed(case, view)
    np.testing.assert_array_equal(seen.image, np.rot90(image, quarters, (1, 2)))
    np.testing.assert_array_equal(seen.mask, np.rot90(image > 2, quarters, (1, 2)))
    assert seen.spacing == (5.0, 1.0)
    assert seen.image.flags.c_contiguous


def test_the_planes_eight_views_are_eight():
    image = np.arange(9.0, dtype=np.float32).reshape(1, 3, 3)
    case = dataclasses.replace(toy_cohort(1)[0], image=image, mask=None)
    seen = {viewed(case, view).image.tobytes() for view in VIEWS if view != "flip-d"}
    assert len(seen) == len(VIEWS) - 1 == 8


@pytest.mark.parametrize("view", VIEWS)
def test_what_has_a_view_is_brought_back(view):
    array = np.arange(24).reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(VIEWS[view].undo(VIEWS[view].of(array)), array)


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
