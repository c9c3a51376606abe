"""Predicted masks in files: which file is whose, and what its values mean."""

import io
import zipfile

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from apple_seg.data import Cohort
from apple_seg.data.sources import FolderSource, MemorySource, open_source
from apple_seg.errors import CaseError
from apple_seg.measure import StoredMasks, score, stored_masks

TRUE = np.zeros((8, 10), dtype=np.uint8)
TRUE[2:5, 2:6] = 1
MOVED = np.roll(TRUE, 1, axis=1)


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def png(array):
    content = io.BytesIO()
    Image.fromarray(array).save(content, "PNG")
    return content.getvalue()


def nifti(array, affine):
    return nibabel.Nifti1Image(array, np.array(affine, dtype=float)).to_bytes()


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def cohort_of(folder, truths, classes=None, **columns):
    """Cases `images/c0.png`, ... whose images are never read, with masks beside them."""
    images = [f"images/c{number}.png" for number in range(len(truths))]
    table = pd.DataFrame({"case": images, "mask": list(truths), "cluster": images, **columns})
    source = FolderSource(write(folder, truths))
    return Cohort(table.assign(split="test"), source, classes or {"lesion": 1})


def two_cases(tmp_path, **columns):
    truths = {f"masks/c{number}_seg.png": png(TRUE) for number in range(2)}
    return cohort_of(tmp_path / "set", truths, **columns)


def dice(predict, cohort):
    return score(predict, cohort, progress=False)["dice"].tolist()


@pytest.mark.parametrize(
    "names",
    [
        ["masks/c0_seg.png", "masks/c1_seg.png"],
        ["images/c0.png", "images/c1.png"],
        ["run/a/c0_seg.npy", "run/b/c1_seg.npy"],
        ["c0.NPY", "deep/down/c1.npz.npy", "deep/c1.npy", "c1.txt", "c10.npy"],
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_the_file_of_a_case_is_found_by_path_or_by_name(tmp_path, names, zipped):
    cohort = two_cases(tmp_path)
    content = {name: (png if name.endswith("png") else npy)(MOVED) for name in names}
    root = write(tmp_path / "predictions", content)
    if zipped:
        root = tmp_path / "predictions.zip"
        with zipfile.ZipFile(root, "w") as archive:
            for name, bytes_ in content.items():
                archive.writestr(name, bytes_)
    masks = stored_masks(root, cohort)
    assert dice(masks, cohort) == [2 * 9 / 24] * 2
    write(tmp_path / "set", {"masks/c1_seg.png": png(MOVED)})
    assert dice(masks, cohort) == [2 * 9 / 24, 1.0]


def test_the_path_of_the_true_mask_goes_before_that_of_the_image_and_both_before_names(tmp_path):
    cohort = two_cases(tmp_path)
    files = ["masks/c0_seg.png", "images/c0.png", "other/c0.png", "images/c1.png", "other/c1.png"]
    masks = stored_masks(write(tmp_path / "found", dict.fromkeys(files, png(TRUE))), cohort)
    rows = cohort.table.to_dict("records")
    assert [masks.file_of(row) for row in rows] == ["masks/c0_seg.png", "images/c1.png"]


def test_a_column_names_the_files_wherever_they_lie(tmp_path):
    names = ["./run\\first.png", "run/second.png"]
    cohort = two_cases(tmp_path, predicted=names)
    files = {"run/first.png": MOVED, "run/second.png": TRUE, "masks/c0_seg.png": TRUE}
    root = write(tmp_path / "found", {name: png(mask) for name, mask in files.items()})
    assert dice(stored_masks(root, cohort, column="predicted"), cohort) == [2 * 9 / 24, 1.0]
    with pytest.raises(CaseError, match="no column 'path'; the columns are: case, mask"):
        stored_masks(root, cohort, column="path")
    cohort.table["predicted"] = ["run/third.png", ""]
    with pytest.raises(CaseError, match=r"2 of 2 cases(?s:.)*names 'run/third.png'(?s:.)*nothing"):
        stored_masks(root, cohort, column="predicted")


def test_all_missing_files_are_told_at_once_before_anything_is_read(tmp_path):
    truths = {f"masks/c{number}.png": b"not read" for number in range(30)}
    cohort = cohort_of(tmp_path / "set", truths)
    root = write(tmp_path / "found", {f"masks/c{n}.png": b"not read" for n in range(0, 30, 6)})
    with pytest.raises(CaseError) as told:
        stored_masks(root, cohort)
    text = str(told.value)
    assert "25 of 30 cases have no predicted mask of their own in" in text
    assert "images/c1.png: looked for masks/c1.png, images/c1.png, and in all folders" in text
    assert "c1 with any of .png" in text
    assert "cases without a file (25); store each by the path or the name of its true" in text
    assert "or name each in a column of the manifest" in text
    assert text.endswith("and 20 more")
    assert "images/c5.png" in text
    assert "images/c6.png" not in text
    assert "images/c7.png" not in text
    stored_masks(root, cohort.take(np.arange(0, 30, 6)))  # nothing is missing of these


def test_several_files_that_could_be_meant_are_listed_and_none_is_taken(tmp_path):
    cohort = two_cases(tmp_path)
    names = ["unet/c0.png", "unet/c1.png", "sam/c1.npy"]
    root = write(tmp_path / "found", dict.fromkeys(names, png(TRUE)))
    with pytest.raises(CaseError, match=r"images/c1\.png: 2 files could be .* sam/c1\.npy, unet/"):
        stored_masks(root, cohort)
    assert dice(stored_masks(root / "unet", cohort), cohort) == [1.0, 1.0]


def faults_of(root, cohort, **options):
    with pytest.raises(CaseError) as told:
        stored_masks(root, cohort, **options)
    return [line.strip() for line in str(told.value).splitlines()]


def test_the_prediction_of_another_case_is_never_taken(tmp_path):
    names = ["masks/A/0.png", "masks/B/0.png", "masks/C/1.png", "masks/D/2.png", "masks/E/2.png"]
    cohort = cohort_of(tmp_path / "set", {name: png(TRUE) for name in names})
    files = {name: png(TRUE) for name in ("masks/A/0.png", "masks/C/1.png", "masks/F/2.png")}
    root = write(tmp_path / "found", files)
    told = faults_of(root, cohort)
    # A has its own path and B the name alone; D and E have the name alone, both of them.
    assert told[0].startswith("3 of 5 cases have no predicted mask of their own")
    assert told[1].startswith("images/c1.png: masks/A/0.png is found for images/c0.png too")
    assert told[2].startswith("images/c3.png: masks/F/2.png is found for images/c4.png too")
    assert told[3].startswith("images/c4.png: masks/F/2.png is found for images/c3.png too")
    write(root, {name: png(MOVED) for name in ("masks/B/0.png", "masks/D/2.png", "masks/E/2.png")})
    half = 2 * 9 / 24
    assert dice(stored_masks(root, cohort), cohort) == [1.0, half, 1.0, half, half]


def test_a_missing_prediction_is_not_met_by_that_of_another_split(tmp_path):
    names = ["masks/train/0.png", "masks/test/0.png", "masks/test/1.png"]
    cohort = cohort_of(tmp_path / "set", {name: png(TRUE) for name in names})
    test = cohort.take(np.array([1, 2]))
    # Those of the training split lie there too, and the first of the test split was not made.
    root = write(tmp_path / "found", dict.fromkeys([names[0], names[2]], png(MOVED)))
    assert stored_masks(root, test).file_of(test.table.iloc[0]) == names[0]  # whose it is not
    with pytest.raises(CaseError) as told:
        stored_masks(root, test, whole=cohort)
    assert "1 of 2 cases have no predicted mask of their own" in str(told.value)
    assert "images/c1.png: masks/train/0.png is found for images/c0.png too" in str(told.value)
    write(root, {names[1]: png(MOVED)})
    half = 2 * 9 / 24
    assert dice(stored_masks(root, test, whole=cohort), test) == [half, half]
    # That the other split has no predictions at all is no fault.
    (root / names[0]).unlink()
    assert dice(stored_masks(root, test, whole=cohort), test) == [half, half]


def test_a_file_that_two_cases_name_is_of_neither(tmp_path):
    cohort = two_cases(tmp_path, predicted=["a.png", "./a.png"])
    root = write(tmp_path / "found", {"a.png": png(TRUE), "b.png": png(MOVED)})
    told = faults_of(root, cohort, column="predicted")
    assert told[0].startswith("2 of 2 cases")
    assert ["a.png is found for" in line for line in told] == [False, True, True]
    cohort.table["predicted"] = ["a.png", "b.png"]
    assert dice(stored_masks(root, cohort, column="predicted"), cohort) == [1.0, 2 * 9 / 24]
    # Two images of one true mask, and one prediction: of which image it was made, nobody can tell.
    cohort.table["mask"] = "a.png"
    assert faults_of(root, cohort)[0].startswith("2 of 2 cases")


@pytest.mark.parametrize("zipped", [False, True])
def test_the_true_masks_themselves_are_not_taken_for_predictions(tmp_path, zipped):
    cohort = two_cases(tmp_path, predicted=["masks/c0_seg.png", "masks/c0_seg.png"])
    root = tmp_path / "set"
    if zipped:
        root = tmp_path / "set.zip"
        with zipfile.ZipFile(root, "w") as archive:
            for name in cohort.table["mask"]:
                archive.writestr(f"in/{name}", png(TRUE))
        cohort = Cohort(cohort.table, open_source(root / "in"), cohort.classes)
        root = root / "in"
    message = r"2 of 2 cases(?s:.)*masks/c0_seg.png is the case's own file and no prediction"
    with pytest.raises(CaseError, match=message):
        stored_masks(root, cohort)
    with pytest.raises(CaseError, match="2 of 2 cases"):
        stored_masks(root, cohort, column="predicted")  # of the second case it is another's
    copy = write(tmp_path / "copy", {name: png(TRUE) for name in cohort.table["mask"]})
    assert dice(stored_masks(copy, cohort), cohort) == [1.0, 1.0]


def read_one(tmp_path, predicted, truth=TRUE, classes=None, kind="npy"):
    """Read one stored prediction of one case, as planes."""
    cohort = cohort_of(tmp_path / "set", {f"m.{kind}": npy(truth)}, classes)
    root = write(tmp_path / "found", {f"m.{kind}": predicted})
    return stored_masks(root, cohort)([cohort.without_images()[0]])[0]


@pytest.mark.parametrize("value", [1, 255, True, 1.0])
@pytest.mark.parametrize("declared", [1, 255])
def test_of_one_class_one_and_255_mean_present_whatever_is_declared(tmp_path, value, declared):
    stored = MOVED.astype(np.asarray(value).dtype) * value
    found = read_one(tmp_path, npy(stored), TRUE * declared, {"lesion": declared})
    assert found.dtype == bool
    np.testing.assert_array_equal(found, MOVED[None] == 1)


def test_a_picture_of_one_bit_is_read(tmp_path):
    root = write(tmp_path / "found", {"m.png": png(MOVED == 1)})
    with Image.open(root / "m.png") as picture:
        assert picture.mode == "1"
    cohort = cohort_of(tmp_path / "set", {"m.png": png(TRUE)})
    assert dice(stored_masks(root, cohort), cohort) == [2 * 9 / 24]


@pytest.mark.parametrize(
    ("values", "classes", "said"),
    [
        ([2], {"lesion": 1}, "holds 2,"),
        ([1, 255], {"lesion": 1}, "holds 255,"),
        ([0.25, 0.75], {"lesion": 1}, "holds 0.25, 0.75,"),
        ([np.nan], {"lesion": 1}, "holds nan,"),
        ([255], {"lesion": 1, "vessel": 2}, "holds 255,"),
        ([1, 3], {"lesion": 1, "vessel": 2}, "holds 3,"),
    ],
)
def test_values_that_mean_nothing_are_refused(tmp_path, values, classes, said):
    stored = TRUE.astype(float)
    stored[2, 2 : 2 + len(values)] = values
    stored[3:] = 0
    stored[2, 2 + len(values) :] = 0
    with pytest.raises(CaseError, match=f"m.npy: the prediction {said} the declared classes are"):
        read_one(tmp_path, npy(stored), classes=classes)
    np.testing.assert_array_equal(
        read_one(tmp_path, npy(TRUE), classes=classes)[0], TRUE == 1
    )  # an empty second plane is no fault


def test_several_classes_are_read_by_their_values(tmp_path):
    labels = np.arange(24).reshape(4, 6) % 3
    found = read_one(tmp_path, npy(labels), labels, {"vessel": 2, "lesion": 1})
    np.testing.assert_array_equal(found, np.stack([labels == 2, labels == 1]))


@pytest.mark.parametrize("wrong", [TRUE[:, :5], TRUE.T, np.stack([TRUE] * 5, -1)])
def test_a_prediction_of_another_shape_is_refused(tmp_path, wrong):
    with pytest.raises(CaseError, match=r"m.npy: the prediction is \(.*is \(8, 10\); store"):
        read_one(tmp_path, npy(wrong))


LAS, RAS = np.diag([-1.0, 1, 2, 1]), np.diag([1.0, 1, 2, 1])
LAS[0, 3] = 5  # 6 voxels along the first axis, mirrored: the same place as RAS


def test_nifti_is_brought_to_the_axes_of_the_true_mask_or_refused(tmp_path):
    volume = np.zeros((6, 7, 8), np.uint8)
    volume[:2, 3:5, 2:4] = 1

    cohort = cohort_of(tmp_path / "set", {"m.nii.gz": nifti(volume, RAS)})
    cohort.table["case"] = "image.png"

    def scored(**files):
        folder = tmp_path / f"found{len(list(tmp_path.iterdir()))}"
        names = {f"m.{suffix.replace('_', '.')}": content for suffix, content in files.items()}
        return dice(stored_masks(write(folder, names), cohort), cohort)

    mirrored = volume[::-1].copy()
    assert scored(nii=nifti(volume, RAS)) == [1.0]
    assert scored(nii_gz=nifti(mirrored, LAS)) == [1.0]
    with pytest.raises(CaseError, match=r"m.nii: lies up to 1.0 mm from the true mask"):
        scored(nii=nifti(volume, RAS + np.eye(4, k=3)))
    with pytest.raises(CaseError, match=r"m.npy: of the prediction and the true mask m.nii.gz one"):
        scored(npy=npy(volume))
    mirror_only = scored(nii=nifti(mirrored, RAS))
    assert mirror_only == [0.0]  # its header says that it lies there


def test_sources_in_memory_serve_too():
    files = {"m.npy": npy(TRUE), "i.npy": npy(TRUE)}
    table = pd.DataFrame({"case": ["i.npy"], "mask": ["m.npy"], "cluster": "p", "split": "test"})
    cohort = Cohort(table, MemorySource(files), {"lesion": 1})
    found = MemorySource({"m.npy": npy(MOVED)})
    masks = StoredMasks(source=found, truth=cohort.source, classes=cohort.classes)
    masks.check(cohort)
    assert dice(masks, cohort) == [2 * 9 / 24]
    itself = StoredMasks(source=cohort.source, truth=cohort.source, classes=cohort.classes)
    with pytest.raises(CaseError, match=r"m\.npy is the case's own file"):
        itself.check(cohort)
