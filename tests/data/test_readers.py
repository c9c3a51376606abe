"""Files to arrays: each format written by its own library, read back as known numbers."""

import gzip

import nibabel
import numpy as np
import pytest
from PIL import Image

from apple_seg.data.readers import read_volume
from apple_seg.errors import CaseError
from cohorts import npy
from formats import GREY, RGB, SPIN, dicom, nifti, npz, picture


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.png", picture(GREY), GREY),
        ("a.PNG", picture(GREY), GREY),
        ("a.png", picture(GREY > 100), GREY > 100),
        ("a.png", picture(GREY.astype(np.uint16) * 300), GREY.astype(np.uint16) * 300),
        ("a.png", picture(RGB), RGB),
        ("a.png", picture(RGB, mode="RGBA"), RGB),
        ("a.png", picture(GREY, mode="LA"), GREY),
        ("a.bmp.tif", picture(GREY.astype(np.float32) / 7, "TIFF"), GREY.astype(np.float32) / 7),
        ("a.tiff", picture(RGB, "TIFF"), RGB),
        ("a.jpg", picture(np.full((8, 8), 90, np.uint8), "JPEG"), np.full((8, 8), 90)),
        ("a.jpeg", picture(np.full((8, 8, 3), 90, np.uint8), "JPEG"), np.full((8, 8, 3), 90)),
        ("a.npy", npy(GREY * 1.5), GREY * 1.5),
        ("a.npz", npz(anything=RGB), RGB),
        ("a.dcm", dicom(GREY), GREY),
        ("a.dcm", dicom(RGB, photometric="RGB"), RGB),
        ("a.dcm", dicom(GREY, RescaleSlope=2, RescaleIntercept=-1000), GREY * 2.0 - 1000),
    ],
)
def test_each_format_gives_the_numbers_that_were_written(name, content, expected):
    volume = read_volume(name, content)
    np.testing.assert_array_equal(volume.array, expected)
    assert volume.channels_last == (expected.ndim == 3)


def test_a_palette_image_is_read_as_colours_and_a_palette_mask_as_indices():
    indices = np.array([[0, 1], [2, 1]], dtype=np.uint8)
    image = Image.fromarray(indices, mode=None)
    image = image.convert("L").convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette([0, 0, 0, 200, 10, 20, 30, 40, 50])
    content = picture(image)
    assert read_volume("a.png", content).array[0, 1].tolist() == [200, 10, 20]
    np.testing.assert_array_equal(read_volume("a.png", content, labels=True).array, indices)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1"])
def test_a_mask_in_grey_colours_is_read_as_one_channel(mode):
    array = np.array([[0, 255], [255, 0]], dtype=np.uint8)
    labels = read_volume("m.png", picture(array, mode=mode), labels=True)
    assert labels.array.shape == (2, 2)
    np.testing.assert_array_equal(labels.array > 0, array > 0)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([[[0, 0, 0], [255, 0, 0]]], np.uint8), "in colour"),
        (np.array([[[0, 0, 0, 255], [0, 0, 0, 0]]], np.uint8), "transparency varies"),
    ],
)
def test_a_mask_that_only_guessing_could_read_is_refused(array, words):
    with pytest.raises(CaseError, match=words):
        read_volume("m.png", picture(array), labels=True)
    assert read_volume("m.png", picture(array)).array.shape == (1, 2, 3)


def test_what_would_be_read_in_part_is_refused():
    pages = [Image.fromarray(GREY), Image.fromarray(GREY)]
    content = picture(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(CaseError, match="more than one page"):
        read_volume("a.tif", content)
    deep = bytearray(picture(RGB))
    deep[24] = 16  # the depth in the header of a colour PNG
    with pytest.raises(CaseError, match="16-bit colour"):
        read_volume("a.png", bytes(deep))
    with pytest.raises(CaseError, match=r"holds \['a', 'b'\]"):
        read_volume("a.npz", npz(a=GREY, b=GREY))
    with pytest.raises(CaseError, match="more than one frame"):
        read_volume("a.dcm", dicom(np.stack([GREY] * 2).reshape(6, 4), NumberOfFrames=2))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.npy", "a.npz", "a.nii", "a.dcm"])
def test_a_damaged_file_is_named(name):
    with pytest.raises(CaseError, match=f"{name}: unreadable"):
        read_volume(name, b"\x89PNG\r\n\x1a\n nothing of the kind")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.bmp", b"", "no reader for this suffix"),
        ("a.npy", npy(np.array([["x", "y"]])), "not numbers"),
        ("a.npy", npy(np.array([{}], dtype=object)), "unreadable"),
        ("a.npy", npy(np.zeros((0, 4))), "not numbers"),
        ("a.npy", npy(np.zeros(4)), "1 spatial axes"),
        # No time of writing: it would stand in the test's name, and workers must agree on names.
        ("a.nii.gz", gzip.compress(nifti(np.zeros((4, 4, 4))), mtime=0)[:40], "unreadable"),
    ],
)
def test_what_is_no_image_is_refused(name, content, words):
    with pytest.raises(CaseError, match=words):
        read_volume(name, content)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("squeeze", [gzip.compress, bytes])
def test_a_nifti_volume_comes_in_canonical_axes_with_its_spacing(kind, squeeze):
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    suffix = ".nii.gz" if squeeze is gzip.compress else ".nii"
    volume = read_volume(f"a{suffix}", squeeze(nifti(stored, SPIN, kind)))
    np.testing.assert_array_equal(volume.array, stored[::-1, ::-1])
    assert volume.spacing == (0.5, 2.0, 3.0)
    # Axes stored as S, R, A: the spacing follows them.
    turned = SPIN[:, [2, 0, 1, 3]]
    assert read_volume("a.nii", nifti(stored, turned, kind)).spacing == (0.5, 2.0, 3.0)


@pytest.mark.parametrize(
    ("shape", "spatial", "colour", "spacing"),
    [
        ((4, 5), (4, 5), False, (0.5, 2.0)),
        ((4, 5, 1), (4, 5), False, (0.5, 2.0)),
        ((1, 4, 5), (4, 5), False, (2.0, 3.0)),
        ((4, 5, 1, 2), (4, 5), True, (0.5, 2.0)),
        ((4, 5, 6, 1), (4, 5, 6), False, (0.5, 2.0, 3.0)),
        ((4, 5, 6, 2), (4, 5, 6), True, (0.5, 2.0, 3.0)),
    ],
)
def test_nifti_slices_and_channels_keep_their_axes(shape, spatial, colour, spacing):
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    volume = read_volume("a.nii", nifti(array, np.diag([0.5, 2.0, 3.0, 1.0])))
    assert (volume.shape, volume.channels_last, volume.spacing) == (spatial, colour, spacing)
    np.testing.assert_array_equal(volume.array.ravel(), array.ravel())


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("meter", 1000), ("unknown", 1)])
def test_nifti_spacing_is_in_millimetres(unit, factor):
    volume = read_volume("a.nii", nifti(np.zeros((4, 4, 4), np.int16), unit=unit))
    assert volume.spacing == (factor, factor, factor)


def test_dicom_spacing_is_rows_first_as_the_array():
    volume = read_volume("a.dcm", dicom(GREY, spacing=(0.5, 0.25)))
    assert volume.array.shape == (3, 4)
    assert volume.spacing == (0.5, 0.25)
    assert read_volume("a.dcm", dicom(GREY, spacing=None)).spacing is None
    detector = dicom(GREY, spacing=None, ImagerPixelSpacing=[0.1, 0.2])
    assert read_volume("a.dcm", detector).spacing == (0.1, 0.2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_monochrome1_is_turned_so_that_more_is_brighter_but_not_in_a_mask(dtype):
    stored = GREY.astype(dtype)
    content = dicom(stored, photometric="MONOCHROME1")
    image = read_volume("a.dcm", content).array
    assert image.min() == (np.iinfo(dtype).max - 220 if stored.dtype.kind == "u" else -221)
    np.testing.assert_array_equal(np.diff(image), -np.diff(stored.astype(int)))
    np.testing.assert_array_equal(read_volume("a.dcm", content, labels=True).array, stored)
