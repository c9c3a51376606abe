"""An image and its mask become one case: brought together, or refused where only a guess could."""

import nibabel
import numpy as np
import pytest

from apple_seg.data import Cohort, Manifest
from apple_seg.data.sources import MemorySource
from apple_seg.errors import CaseError
from cohorts import npy
from formats import GREY, RGB, SPIN, dicom, nifti, picture


def case(classes=None, *, image, mask):
    """Read one case through the whole path: a manifest in memory."""
    (image_name, image_bytes), (mask_name, mask_bytes) = image, mask
    table = f"image,mask,patient_id,split\n{image_name},{mask_name},p,test\n"
    files = {"cases.csv": table.encode(), image_name: image_bytes, mask_name: mask_bytes}
    cohort: Cohort = Manifest(root="memory", classes=classes or {"lesion": 1}).read_from(
        MemorySource(files)
    )
    return cohort[0]


def test_spacing_comes_from_the_image_or_else_from_the_mask():
    mask = (GREY > 100).astype(np.uint8)
    both = case(image=("a.dcm", dicom(GREY, (1, 2))), mask=("m.dcm", dicom(mask, (1, 2))))
    assert both.spacing == (1, 2)
    assert case(image=("a.png", picture(GREY)), mask=("m.dcm", dicom(mask))).spacing == (0.5, 0.25)
    assert case(image=("a.dcm", dicom(GREY)), mask=("m.png", picture(mask))).spacing == (0.5, 0.25)
    assert case(image=("a.png", picture(GREY)), mask=("m.png", picture(mask))).spacing is None
    with pytest.raises(CaseError, match="spacing"):
        case(image=("a.dcm", dicom(GREY, (1, 2))), mask=("m.dcm", dicom(mask, (2, 1))))


def test_image_and_mask_stored_in_other_orientations_are_brought_together():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 99, (4, 5, 6)).astype(np.int16)
    mask = (image > 50).astype(np.uint8)
    spin = nibabel.Nifti1Image(image, SPIN)
    straight = nibabel.as_closest_canonical(nibabel.Nifti1Image(mask, SPIN))
    assert not np.array_equal(np.asarray(straight.dataobj), mask)
    read = case(image=("a.nii", spin.to_bytes()), mask=("m.nii", straight.to_bytes()))
    np.testing.assert_array_equal(read.mask[0], read.image[0] > 50)


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5), (4, 5, 1), (1, 5, 4)])
def test_a_mask_whose_header_puts_it_elsewhere_is_refused(shape):
    array = np.ones(shape, np.int16)
    shifted = SPIN.copy()
    shifted[0, 3] += 0.2
    case(image=("a.nii", nifti(array, SPIN)), mask=("m.nii", nifti(array, shifted)))
    with pytest.raises(CaseError, match="mm from its image"):
        case(image=("a.nii", nifti(array, SPIN)), mask=("m.nii", nifti(array)))


def test_a_nifti_mask_of_a_picture_is_refused_since_its_axes_are_not_rows_and_columns():
    square = np.ones((4, 4), np.uint8)
    with pytest.raises(CaseError, match="convert both to one format"):
        case(image=("a.png", picture(square)), mask=("m.nii", nifti(square)))


def test_images_come_channels_first_in_float32_and_masks_a_plane_a_class():
    labels = (GREY // 100).astype(np.uint8)
    read = case(
        {"core": 1, "rim": 2}, image=("a.png", picture(RGB)), mask=("m.png", picture(labels))
    )
    assert (read.image.dtype, read.image.shape) == (np.float32, (3, 3, 4))
    np.testing.assert_array_equal(read.image, RGB.transpose(2, 0, 1))
    np.testing.assert_array_equal(read.mask, [labels == 1, labels == 2])
    assert read.mask.dtype == bool


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_values_that_are_not_finite_are_counted_and_refused(bad):
    image = np.ones((3, 4))
    mask = ("m.npy", npy(np.ones((3, 4), bool)))
    assert case(image=("a.npy", npy(image)), mask=mask).mask.all()
    image[1, 1:3] = bad
    with pytest.raises(CaseError, match=r"a\.npy: 2 values are not finite"):
        case(image=("a.npy", npy(image)), mask=mask)


def test_mask_values_outside_the_classes_are_refused_and_named():
    mask = np.array([[0, 1, 7, 255]], np.uint8)
    image = ("a.npy", npy(np.zeros((1, 4))))
    with pytest.raises(CaseError, match=r"m\.npy: mask holds 7, 255, the declared"):
        case(image=image, mask=("m.npy", npy(mask)))
    with pytest.raises(CaseError, match="mask holds nan"):
        case(image=image, mask=("m.npy", npy(np.array([[0, 1, np.nan, 1]]))))
    assert case({"a": 1, "b": 7, "c": 255}, image=image, mask=("m.npy", npy(mask))).mask.sum() == 3
