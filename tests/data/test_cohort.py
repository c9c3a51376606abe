"""Cases are read one at a time, here and in workers, and a cohort knows which they are."""

import pickle

import numpy as np
import pytest
import torch

from apple_seg.data import synthetic
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
