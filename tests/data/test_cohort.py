"""Cases are read one at a time, here and in workers, and a cohort knows which they are."""

import gzip
import itertools
import pickle
import time

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch

from apple_seg.data import Cohort, synthetic
from apple_seg.data.sources import MemorySource
from apple_seg.errors import CaseError

SETTINGS = synthetic.Dermoscopy(size=24, splits={"train": (6, 6), "test": (5, 3)})


@pytest.fixture(params=["memory", "zip"])
def cohort(request, tmp_path):
    if request.param == "memory":
        return synthetic.cohort(SETTINGS)
    return synthetic.write(SETTINGS, tmp_path / "set.zip").read()


def test_a_pickled_cohort_reads_the_same_cases(cohort):
    again = pickle.loads(pickle.dumps(cohort))
    assert again.digest() == cohort.digest()
    for one, other in zip(cohort, again, strict=True):
        assert one.key == other.key
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.mask, other.mask)


def test_workers_of_a_data_loader_read_what_this_process_reads(cohort):
    loader = torch.utils.data.DataLoader(
        cohort, batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    for here, there in zip(cohort, loader, strict=True):
        assert here.key == there.key
        np.testing.assert_array_equal(here.image, there.image)


def test_a_split_holds_its_cases_and_an_unknown_one_is_refused(cohort):
    test = cohort.split("test")
    assert len(test) == 8
    assert {case.row["split"] for case in test} == {"test"}
    with pytest.raises(CaseError, match="no case in split 'dev'; the splits are: 'test', 'train'"):
        cohort.split("dev")


def test_taking_rows_keeps_their_order(cohort):
    labels = cohort.table.index.to_numpy()[[3, 1]]
    assert [case.key for case in cohort.take(labels)] == [cohort[3].key, cohort[1].key]


def test_the_digest_follows_cases_attributes_and_classes(cohort):
    assert cohort.take(cohort.table.index.to_numpy()).digest() == cohort.digest()
    assert cohort.split("test").digest() != cohort.digest()
    other = cohort.take(cohort.table.index.to_numpy())
    other.table.loc[other.table.index[0], "age"] = "101"
    assert other.digest() != cohort.digest()


def test_a_file_that_vanished_is_named(cohort):
    broken = cohort.take(cohort.table.index.to_numpy())
    broken.table.loc[broken.table.index[0], "mask"] = "masks/gone.png"
    with pytest.raises(CaseError, match=r"masks/gone\.png: missing"):
        broken[0]
    assert broken[1].mask.any()


def test_the_stamp_follows_cases_words_and_files_and_their_order(cohort):
    stamp = cohort.stamp()
    labels = cohort.table.index.to_numpy()
    assert cohort.take(labels).stamp() == pickle.loads(pickle.dumps(cohort)).stamp() == stamp
    assert cohort.without_images().stamp() == stamp
    renamed = cohort.take(labels)
    renamed.table.loc[labels[0], "age"] = "101"
    others = [cohort.split("test"), cohort.take(labels[::-1]), renamed]
    assert renamed.stamp() == stamp  # an age that was corrected changes no pixel
    stamps = [other.stamp(["age"]) for other in (cohort, *others)]
    assert len({*stamps}) == 4


@pytest.mark.parametrize("kind", ["case", "mask"])
def test_the_stamp_follows_the_pixels_where_the_digest_does_not(kind):
    cohort = synthetic.cohort(SETTINGS)
    names = cohort.table[kind]
    swapped = {**cohort.source.files, names.iloc[0]: cohort.source.files[names.iloc[1]]}
    other = Cohort(cohort.table, MemorySource(swapped), cohort.classes)
    assert other.digest() == cohort.digest()
    assert other.stamp() != cohort.stamp()
    del swapped[names.iloc[0]]
    with pytest.raises(CaseError, match=rf"{names.iloc[0]}: missing"):
        other.stamp()


def test_the_stamp_follows_masks_that_were_put_in_place_of_those_in_files():
    cohort = synthetic.cohort(SETTINGS)
    masks = [case.mask for case in cohort]
    drawn = cohort.with_masks(masks)
    other = cohort.with_masks([~masks[0], *masks[1:]])
    assert len({cohort.stamp(), drawn.stamp(), other.stamp()}) == 3
    assert cohort.with_masks(masks).stamp() == drawn.stamp()
    rest = cohort.table.index.to_numpy()[1:]
    assert drawn.take(rest).stamp() == other.take(rest).stamp()


def test_sixteen_thousand_cases_are_stamped_in_well_under_two_seconds():
    files = {f"{number}.png": bytes([number % 256]) * 1000 for number in range(32_000)}
    names = pd.Series([*files], dtype="string")
    table = pd.DataFrame({"case": names[:16_000], "mask": [*names[16_000:]]})
    table = table.assign(cluster="p", split="test")
    start = time.perf_counter()
    assert len(Cohort(table, MemorySource(files), {"lesion": 1}).stamp()) == 64
    assert time.perf_counter() - start < 2


def test_without_images_everything_else_of_a_case_is_as_with_them(cohort):
    bare = pickle.loads(pickle.dumps(cohort.without_images())).split("test")
    for case, seen in zip(bare, cohort.split("test"), strict=True):
        assert (case.key, case.cluster, case.spacing) == (seen.key, seen.cluster, seen.spacing)
        assert dict(case.row) == dict(seen.row)
        np.testing.assert_array_equal(case.mask, seen.mask)
        assert case.image.shape == (1, *seen.mask.shape[1:])
        assert case.image.dtype == seen.image.dtype
        assert np.isnan(case.image).all()
        assert np.isfinite(seen.image).all()


def test_without_images_no_picture_is_opened_and_a_missing_mask_is_named():
    cohort = synthetic.cohort(SETTINGS)
    masks = {name: cohort.source.files[name] for name in cohort.table["mask"]}
    bare = Cohort(cohort.table, MemorySource(masks), cohort.classes)
    assert bare.without_images()[0].mask.any()
    with pytest.raises(CaseError, match="missing"):
        bare[0]
    bare.table.loc[bare.table.index[1], "mask"] = ""
    with pytest.raises(CaseError, match="has no mask, and of a case whose image is not read"):
        bare.without_images()[1]


def nifti(array, affine, *, unit="mm", kind=nibabel.Nifti1Image, pack=bytes):
    image = kind(array, affine)
    image.header.set_xyzt_units(unit)
    return pack(image.to_bytes())


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 1, 7), (1, 6, 7), (5, 6, 1), (5, 6, 7, 3)])
def test_without_images_the_spacing_is_the_one_in_the_headers_of_the_images(kind, shape):
    draw = np.random.default_rng(0)
    found = set()
    for axes, unit, pack in itertools.product(
        itertools.permutations(range(3)), ("mm", "micron"), (bytes, gzip.compress)
    ):
        turned = np.eye(4)
        turned[:3, :3] = np.eye(3)[list(axes)] * draw.choice([-1, 1], 3)
        sizes = draw.uniform(0.3, 4, 3)
        words = {"unit": unit, "kind": kind, "pack": pack}
        near = np.diag([*(sizes * 1.005), 1.0])  # the mask's spacing is not quite the image's
        files = {
            "i.nii.gz": nifti(np.ones(shape, np.int16), turned @ np.diag([*sizes, 1.0]), **words),
            "m.nii.gz": nifti(np.ones(shape[:3], np.uint8), turned @ near, **words),
        }
        table = pd.DataFrame(
            [("i.nii.gz", "m.nii.gz", "p", "test")], columns=["case", "mask", "cluster", "split"]
        )
        cohort = Cohort(table, MemorySource(files), {"lesion": 1})
        seen, bare = cohort[0], cohort.without_images()[0]
        assert bare.spacing == seen.spacing
        assert bare.mask.shape == seen.mask.shape == (1, *bare.image.shape[1:])
        found.add(seen.spacing)
    assert len(found) == 24


def test_a_damaged_header_is_told_of_without_images():
    mask = nifti(np.ones((4, 5, 6), np.uint8), np.eye(4))
    table = pd.DataFrame({"case": ["i.nii"], "mask": ["m.nii"], "cluster": "p", "split": "test"})
    cohort = Cohort(table, MemorySource({"i.nii": mask[:100], "m.nii": mask}), {"lesion": 1})
    with pytest.raises(CaseError, match=r"i\.nii: unreadable"):
        cohort.without_images()[0]
