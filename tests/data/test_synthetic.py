"""What is planted in the images is there, can be turned off, and depends on nothing else."""

import time

import numpy as np
import pytest
from scipy.stats import ks_2samp

from apple_seg.data import check, synthetic
from apple_seg.data.synthetic import GROUPS, Dermoscopy


def threshold_otsu(grey):
    """Return the grey value that parts the pixels into the two most uniform classes."""
    values = np.sort(grey.ravel())
    below = np.arange(1, values.size)
    total = values.cumsum()
    low, high = total[:-1] / below, (total[-1] - total[:-1]) / (values.size - below)
    return values[np.argmax(below * (values.size - below) * (high - low) ** 2)]


def features(settings):
    """Return skin tone, Otsu's Dice and contrast (N,) of each case, and the group codes."""
    cohort = synthetic.cohort(settings)
    rows = []
    for case in cohort:
        grey, mask = case.image.mean(0), case.mask[0]
        found = grey < threshold_otsu(grey)
        dice = 2 * (found & mask).sum() / (found.sum() + mask.sum())
        rows.append((np.median(grey[~mask]), dice, grey[~mask].mean() - grey[mask].mean()))
    tone, dice, contrast = np.array(rows).T
    return tone, dice, contrast, GROUPS.codes(cohort.table)


def distances(settings):
    """Return the p values of two-sample tests between the groups, feature by feature."""
    *columns, codes = features(settings)
    return [ks_2samp(column[codes == 0], column[codes == 1]).pvalue for column in columns]


MANY = {"size": 48, "splits": {"test": (250, 250)}, "images_per_patient": 1}


def test_with_both_dials_down_the_groups_are_exchangeable_and_with_one_up_they_are_not():
    assert min(distances(Dermoscopy(**MANY, shows=0, disturbs=0))) > 0.01
    assert distances(Dermoscopy(**MANY, shows=0.5, disturbs=0))[0] < 1e-6
    assert max(distances(Dermoscopy(**MANY, shows=0, disturbs=0.5))[1:]) < 1e-6


def test_what_shows_does_not_take_contrast_and_what_disturbs_makes_b_harder():
    _, dice, contrast, codes = features(Dermoscopy(**MANY, shows=1, disturbs=0))
    lost = contrast[codes == 0].mean() - contrast[codes == 1].mean()
    assert abs(lost) < 0.1 * contrast[codes == 0].mean()
    assert abs(dice[codes == 0].mean() - dice[codes == 1].mean()) < 0.08
    _, dice, contrast, codes = features(Dermoscopy(**MANY, shows=1, disturbs=1))
    assert contrast[codes == 1].mean() < 0.6 * contrast[codes == 0].mean()
    assert dice[codes == 0].mean() - dice[codes == 1].mean() > 0.15


def test_the_splits_have_the_declared_cases_of_each_group():
    cohort = synthetic.cohort(Dermoscopy(size=16, unknown=0))
    codes = GROUPS.codes(cohort.table)
    for split, (of_a, of_b) in synthetic.SPLITS.items():
        inside = (cohort.table["split"] == split).to_numpy()
        assert np.bincount(codes[inside]).tolist() == [of_a, of_b]
    assert synthetic.SPLITS["host"][1] / sum(synthetic.SPLITS["host"]) == 0.05


def test_patients_have_one_to_three_images_one_age_and_one_group():
    table = synthetic.cohort(Dermoscopy(size=16)).table
    patients = table.groupby("cluster")
    assert set(patients.size()) == {1, 2, 3}
    assert (patients[["group", "age", "split"]].nunique() == 1).all(axis=None)


def test_some_attributes_are_unknown_and_age_follows_the_group_only_when_told():
    def gap(settings):
        table = synthetic.cohort(settings).table
        age = table["age"].replace("", np.nan).astype(float)
        means = age.groupby(table["group"]).mean()
        return means["B"] - means["A"], table

    splits = {"test": (800, 800)}
    same, table = gap(Dermoscopy(size=16, splits=splits))
    assert 0 < (table["group"] == "unknown").mean() < 0.05
    assert 0 < (table["age"] == "").mean() < 0.05
    assert abs(same) < 3
    older, _ = gap(Dermoscopy(size=16, splits=splits, age_gap=20))
    assert 15 < older < 25


def test_a_case_depends_on_its_seed_and_place_and_on_no_other_split():
    def images(**options):
        cohort = synthetic.cohort(Dermoscopy(size=24, images_per_patient=1, **options))
        return {case.key: case.image for case in cohort}

    few = images(splits={"val": (3, 2)})
    many = images(splits={"train": (4, 4), "val": (5, 4)})
    assert few.keys() <= many.keys()
    for key, image in few.items():
        np.testing.assert_array_equal(image, many[key])
    assert not few.keys() & images(splits={"val": (3, 2)}, seed=1).keys()


def test_images_of_one_cohort_differ():
    cohort = synthetic.cohort(Dermoscopy(size=24, splits={"test": (10, 10)}))
    assert len({case.image.tobytes() for case in cohort}) == 20
    assert len({case.mask.tobytes() for case in cohort}) == 20


def test_names_do_not_tell_the_group():
    table = synthetic.cohort(Dermoscopy(size=16, splits={"test": (50, 50)}, unknown=0)).table
    letters = table["case"].str.replace("test_", "").str.extract(r"([AB])")[0]
    assert letters.isna().all()


@pytest.mark.parametrize("size", [32, 96])
def test_every_lesion_is_whole_and_of_a_size_to_be_seen(size):
    cohort = synthetic.cohort(Dermoscopy(size=size, splits={"test": (60, 60)}))
    shares = np.array([case.mask.mean() for case in cohort])
    assert shares.min() > 0.01
    assert shares.max() < 0.6
    assert np.ptp(shares) > 0.1


def test_what_is_written_is_what_is_in_memory(tmp_path):
    settings = Dermoscopy(size=24, splits={"train": (7, 5), "test": (4, 6)})
    manifest = synthetic.write(settings, tmp_path / "set.zip")
    written, memory = manifest.read(), synthetic.cohort(settings)
    check(written, GROUPS, splits=["train", "test"], progress=False)
    assert written.digest() == memory.digest()
    for one, other in zip(written, memory, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.mask, other.mask)
    again = synthetic.write(settings, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "set.zip").read_bytes()
    assert again.read().digest() == memory.digest()


def test_a_write_that_fails_leaves_nothing(tmp_path):
    settings = Dermoscopy(size=16, splits={"test": (2, 2)})
    (tmp_path / "set.zip" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"set\.zip"):
        synthetic.write(settings, tmp_path / "set.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["set.zip"]
    synthetic.write(settings, tmp_path / "other.zip")
    assert {path.name for path in tmp_path.iterdir()} == {"set.zip", "other.zip"}


@pytest.mark.parametrize(
    "options",
    [
        {"shows": 1.1},
        {"disturbs": -0.1},
        {"unknown": 1},
        {"size": 4},
        {"images_per_patient": 0},
        {"seed": -1},
        {"splits": {"test": (5,)}},
        {"splits": {"test": (5, -1)}},
    ],
)
def test_settings_that_plant_nothing_are_refused(options):
    with pytest.raises(ValueError, match="got"):
        Dermoscopy(**options)


def test_a_demo_sized_cohort_is_drawn_in_seconds():
    start = time.process_time()
    synthetic.cohort(Dermoscopy(splits={"test": (100, 100)}))
    assert time.process_time() - start < 3
