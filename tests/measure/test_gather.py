"""Slices gathered to volumes; started as a program by two processes, it writes what they score."""

import io
import pickle
import sys
import weakref
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from medpy.metric import binary

from apple_seg.audit import AuditSettings, audit_scores
from apple_seg.data import Cohort, Groups
from apple_seg.data.sources import MemorySource
from apple_seg.errors import CaseError
from apple_seg.measure import gathered_table, score
from apple_seg.processes import launched

CLASSES = {"lesion": 1, "vessel": 2}


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def nifti(array, spacing):
    return nibabel.Nifti1Image(array[..., None], np.diag([*spacing, 1, 1])).to_bytes()


def volumes(count=3, seed=0):
    """Label volumes (12, 10, 5 and more), of which some slices are empty."""
    draw = np.random.default_rng(seed)
    found = {}
    for number in range(count):
        labels = draw.integers(0, 3, (12, 10, 5 + number)).astype(np.uint8)
        labels[..., 0] = 0
        found[f"v{number}"] = labels
    return found


def cohort_of(arrays, *, spacing=None):
    """Slices of all volumes, dealt in turn: the first ones of all, then the second ones."""
    files, rows = {}, []
    longest = max(array.shape[-1] for array in arrays.values())
    for place in range(longest):
        for name, array in arrays.items():
            if place < array.shape[-1]:
                plane, key = array[..., place], f"{name}-{place}"
                key += ".npy" if spacing is None else ".nii"
                files[key] = npy(plane) if spacing is None else nifti(plane, spacing)
                rows.append((key, key, f"p-{name}", "test", name, f"s{place}", "m", "2.5"))
    columns = ["case", "mask", "cluster", "split", "series", "place", "sex", "thickness"]
    table = pd.DataFrame(rows, columns=columns, dtype="string")
    return Cohort(table, MemorySource(files), CLASSES)


def shifted(cases):
    """Move the truth by what tells a batch from others: its first case and its length."""
    shift = 1 + int(cases[0].key[3]) % 2 + len(cases) % 2
    return [np.roll(case.mask, shift, axis=1) for case in cases]


def by_one(cases):
    return [np.roll(case.mask, 1, axis=1) for case in cases]


def test_gathered_slices_score_as_the_volumes_that_they_are_slices_of():
    arrays = volumes()
    whole = {f"{name}.npy": npy(array) for name, array in arrays.items()}
    table = pd.DataFrame({"case": list(whole), "mask": list(whole), "split": "test"})
    table["cluster"] = [f"p-{name}" for name in arrays]
    expected = score(by_one, Cohort(table, MemorySource(whole), CLASSES), progress=False)

    found = score(by_one, cohort_of(arrays), gather="series", batch_size=2, progress=False)

    assert found["case"].drop_duplicates().tolist() == ["v0", "v1", "v2"]
    pd.testing.assert_frame_equal(
        found.drop(columns="case"), expected.drop(columns="case"), check_exact=True
    )
    slices = score(by_one, cohort_of(arrays), progress=False)
    assert len(slices) == 2 * 18 > len(found) == 2 * 3
    assert slices["dice"].mean() != found["dice"].mean()


def test_slices_come_volume_by_volume_and_no_batch_holds_two():
    arrays, seen = volumes(), []

    def predict(cases):
        seen.append([case.key for case in cases])
        return by_one(cases)

    found = score(predict, cohort_of(arrays), gather="series", batch_size=2, progress=False)

    assert [len({key[:2] for key in batch}) for batch in seen] == [1] * len(seen)
    assert max(map(len, seen)) == 2
    flat = [key for batch in seen for key in batch]
    expected = [f"v{number}-{place}.npy" for number in range(3) for place in range(5 + number)]
    assert flat == expected
    assert flat != cohort_of(arrays).table["case"].tolist()  # which deals them in turn
    by_patient = score(by_one, cohort_of(arrays), gather="cluster", progress=False)
    assert by_patient["case"].drop_duplicates().tolist() == ["p-v0", "p-v1", "p-v2"]
    pd.testing.assert_series_equal(by_patient["hd95"], found["hd95"])


def test_of_volumes_that_are_done_nothing_is_held():
    masks, images = {}, []

    def predict(cases):
        number = int(cases[0].key[1])
        held = {volume for volume, refs in masks.items() if any(ref() is not None for ref in refs)}
        assert held <= {number, number - 1, number - 2}  # it, and those that are being measured
        masks.setdefault(number, []).extend(weakref.ref(case.mask) for case in cases)
        assert all(ref() is None for ref in images[:-2])
        images.extend(weakref.ref(case.image) for case in cases)
        return by_one(cases)

    score(predict, cohort_of(volumes(6)), gather="series", batch_size=1, progress=False)
    assert len(images) == 5 + 6 + 7 + 8 + 9 + 10


def test_thickness_makes_millimetres_and_without_it_distances_are_in_voxels():
    arrays = volumes(1)
    cohort = cohort_of(arrays, spacing=(0.5, 2.0))
    found = {
        name: score(by_one, cohort, gather="series", thickness=name, progress=False)
        for name in (None, "thickness")
    }
    for number, value in enumerate(CLASSES.values()):
        truth = arrays["v0"] == value
        masks = np.roll(truth, 1, axis=0), truth
        row = found["thickness"].iloc[number]
        assert row["assd"] == pytest.approx(binary.assd(*masks, (0.5, 2.0, 2.5)), abs=1e-9)
        assert found[None]["assd"][number] == pytest.approx(binary.assd(*masks), abs=1e-9)
    assert found["thickness"]["unit"].tolist() == ["mm", "mm"]
    assert found[None]["unit"].tolist() == ["px", "px"]


def changed(**columns):
    """The slices of a cohort whose second one says something else."""
    cohort = cohort_of(volumes(2))
    for name, value in columns.items():
        row = cohort.table.index[cohort.table["series"] == "v1"][1]
        cohort.table.loc[row, name] = value
    return cohort


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"cluster": "p-v0"}, r"series v1: its slices differ in 'cluster' \(p-v1, p-v0\)"),
        ({"split": "train"}, r"series v1: its slices differ in 'split' \(test, train\)"),
        ({"thickness": "3"}, r"series v1: its slices differ in 'thickness' \(2.5, 3\)"),
        ({"series": " "}, r"v1-1.npy: has no series, as 1 of 11 cases"),
    ],
)
def test_volumes_that_are_none_are_refused_before_any_prediction(columns, message):
    settings = {"gather": "series", "thickness": "thickness", "progress": False}
    with pytest.raises(CaseError, match=message):
        score(None, changed(**columns), **settings)
    files = cohort_of(volumes(2), spacing=(1.0, 1.0))
    assert len(score(by_one, files, **settings)) == 4  # nothing else is wrong with them


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gather": "study"}, "no column 'study' to gather slices by; the columns are: case"),
        ({"gather": "series", "thickness": "sex"}, "series v0: the thickness .* is 'm', not"),
        ({"gather": "series", "thickness": "gap"}, "no column 'gap'; the columns are: case"),
        ({"thickness": "thickness"}, "'thickness' is that of gathered slices; name gather, too"),
    ],
)
def test_columns_that_cannot_be_used_are_refused_before_any_prediction(settings, message):
    with pytest.raises(ValueError, match=message):
        score(None, cohort_of(volumes(2)), progress=False, **settings)


def test_slices_that_do_not_fit_together_are_named():
    settings = {"gather": "series", "progress": False}
    cohort = cohort_of(volumes(1))
    with pytest.raises(CaseError, match=r"the spacing within the slice v0-0\.npy is None"):
        score(by_one, cohort, thickness="thickness", **settings)
    cohort.source.files["v0-1.npy"] = npy(np.zeros((4, 4), np.uint8))
    with pytest.raises(CaseError, match=r"v0: the slice v0-1.npy is \(4, 4\), v0-0.npy is \(12,"):
        score(by_one, cohort, **settings)
    cohort.source.files["v0-0.npy"] = npy(np.zeros((4, 4, 5), np.uint8))
    with pytest.raises(CaseError, match="must be slices of two"):
        score(by_one, cohort.without_images(), batch_size=1, **settings)


def test_the_table_of_volumes_keeps_what_is_the_same_within_each():
    table = cohort_of(volumes()).table.assign(age=["50", "60", "70"] * 5 + ["60", "70", "70"])
    found = gathered_table(table, "series", ["sex", "age"])
    assert found["case"].tolist() == ["v0", "v1", "v2"]
    assert found["age"].tolist() == ["50", "60", "70"]
    assert set(found) == {"case", "cluster", "split", "series", "sex", "thickness", "age"}
    table.loc[5, "age"] = ""
    assert "age" not in gathered_table(table, "series")
    with pytest.raises(CaseError, match="series v2: its slices differ in 'age'"):
        gathered_table(table, "series", ["age"])
    with pytest.raises(CaseError, match="no column 'race'"):
        gathered_table(table, "series", ["race"])


def test_scores_of_volumes_are_audited_with_the_table_of_volumes():
    cohort = cohort_of(volumes(8))
    cohort.table["group"] = cohort.table["series"].isin(["v1", "v3", "v6"]).map({True: "A"})
    cohort.table["group"] = cohort.table["group"].fillna("B")
    groups = Groups(by={"group": ["A", "B"]}, reference="group = A")
    scores = score(by_one, cohort, gather="series", progress=False)
    table = gathered_table(cohort.table, "series", list(groups.by))
    settings = AuditSettings(metrics=("dice", "hd95"), resamples=0)
    found = audit_scores(scores, table, groups, settings=settings)
    assert {label: one.n_cases for label, one in found.by_group.items()} == {
        "group = A": 3,
        "group = B": 5,
    }


SIZES = {"fewer volumes than processes": 1, "a volume more": 3}


def scored(processes):
    """Return what is to be the same in one process and in two."""
    return {
        name: score(
            shifted,
            cohort_of(volumes(size)),
            gather="series",
            batch_size=2,
            progress=False,
            processes=processes,
        )
        for name, size in SIZES.items()
    }


def test_two_processes_score_volumes_to_the_last_bit_as_one_does(tmp_path):
    from launching import launch  # which this file, started as a program, does not find

    done = launch(__file__, tmp_path)
    assert done.returncode == 0, done.stderr
    alone = scored(launched("cpu"))
    for rank in range(2):
        found = pickle.loads((tmp_path / f"{rank}.pickle").read_bytes())
        for name, table in alone.items():
            assert len(table) == 2 * SIZES[name]
            pd.testing.assert_frame_equal(found[name], table, check_exact=True)
    other = score(
        shifted, cohort_of(volumes()), gather="series", batch_size=3, progress=False
    )  # other batches, other numbers: they must have been the same
    assert not other["dice"].equals(alone["a volume more"]["dice"])


if __name__ == "__main__":
    folder, processes = Path(sys.argv[1]), launched("cpu")
    (folder / f"{processes.rank}.pickle").write_bytes(pickle.dumps(scored(processes)))
