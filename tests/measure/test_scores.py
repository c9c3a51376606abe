import io

import numpy as np
import pandas as pd
import pytest

from apple_seg.data import Cohort
from apple_seg.errors import CaseError
from apple_seg.measure import apply_policy, score


class Memory:
    def __init__(self, arrays):
        self.files = {name: npy(array) for name, array in arrays.items()}

    def names(self):
        return frozenset(self.files)

    def open(self, name):
        return self.files[name]


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def square(start, size, label=1):
    mask = np.zeros((16, 16), dtype=np.uint8)
    mask[start : start + size, start : start + size] = label
    return mask


def small_cohort(masks, classes=None):
    """A case a mask; its image is the mask, so that a segmentor can read the truth off it."""
    arrays = {f"m{i}.npy": mask for i, mask in enumerate(masks)}
    arrays |= {f"i{i}.npy": mask for i, mask in enumerate(masks)}
    table = pd.DataFrame(
        {
            "case": [f"i{i}.npy" for i in range(len(masks))],
            "mask": [f"m{i}.npy" for i in range(len(masks))],
            "cluster": [f"p{i // 2}" for i in range(len(masks))],
            "split": "test",
        }
    )
    return Cohort(table, Memory(arrays), classes or {"lesion": 1})


def perfect(cases):
    return [case.mask for case in cases]


def test_scores_come_a_row_a_case_and_class_in_the_order_of_the_cohort():
    mask = square(2, 4)
    mask[10:13, 10:13] = 2
    cohort = small_cohort([mask, square(3, 5)], {"lesion": 1, "vessel": 2})

    def half(cases):
        found = [case.mask.copy() for case in cases]
        found[0][0, 2:4] = False  # of the 4 x 4 lesion, the upper half
        return found

    table = score(half, cohort, batch_size=2, progress=False)

    assert table["case"].tolist() == ["i0.npy", "i0.npy", "i1.npy", "i1.npy"]
    assert table["class"].tolist() == ["lesion", "vessel"] * 2
    assert table["cluster"].unique().tolist() == ["p0"]
    assert table["truth_size"].tolist() == [16, 9, 25, 0]
    assert table["predicted_size"].tolist() == [8, 9, 25, 0]
    assert table["unit"].unique().tolist() == ["px"]
    np.testing.assert_allclose(table["dice"], [2 * 8 / 24, 1, 1, np.nan])
    np.testing.assert_allclose(table["hd95"][1:], [0, 0, np.nan])


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_scores_do_not_depend_on_the_batch_and_no_batch_is_larger(batch_size):
    cohort = small_cohort([square(i % 5, 3 + i % 4) for i in range(7)])
    seen = []

    def shifted(cases):
        seen.append(len(cases))
        return [np.roll(case.mask, 1, axis=2) for case in cases]

    table = score(shifted, cohort, batch_size=batch_size, progress=False)

    assert max(seen) <= batch_size
    assert sum(seen) == 7
    expected = score(shifted, cohort, progress=False)
    pd.testing.assert_frame_equal(table, expected)


def test_a_case_without_a_mask_is_named():
    cohort = small_cohort([square(1, 3), square(2, 3)])
    cohort.table.loc[1, "mask"] = ""
    with pytest.raises(CaseError, match=r"i1\.npy: has no mask"):
        score(lambda cases: [np.zeros((1, 16, 16), bool) for _ in cases], cohort, progress=False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda mask: mask[0], r"i1\.npy: the prediction is bool of \(16, 16\)"),
        (lambda mask: mask[:, :8], r"i1\.npy: the prediction is bool of \(1, 8, 16\)"),
        (lambda mask: mask.astype(np.float32), r"i1\.npy: the prediction is float32 of"),
        (lambda mask: mask.tolist(), r"i1\.npy: the prediction is list of"),
    ],
)
def test_a_prediction_of_the_wrong_shape_or_type_is_named(wrong, message):
    cohort = small_cohort([square(1, 3), square(2, 3)])
    score(perfect, cohort, progress=False)  # with the right ones nothing is said

    def predict(cases):
        return [wrong(c.mask) if c.key == "i1.npy" else c.mask for c in cases]

    with pytest.raises(CaseError, match=message):
        score(predict, cohort, progress=False)


def test_too_few_predictions_are_an_error():
    cohort = small_cohort([square(1, 3), square(2, 3)])
    with pytest.raises(CaseError, match=r"2 cases went into the segmentor.*1 masks came out"):
        score(lambda cases: perfect(cases)[:1], cohort, progress=False)


def test_an_unknown_metric_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="no metric nsd2; known are: dice, iou, nsd"):
        score(None, small_cohort([square(1, 3)]), metrics=("nsd2",), progress=False)
    with pytest.raises(ValueError, match="batch_size is 1 at least, got 0"):
        score(None, small_cohort([square(1, 3)]), batch_size=0, progress=False)


def test_of_no_case_the_table_has_its_columns_and_no_row():
    cohort = small_cohort([square(1, 3)])
    one, none = (
        score(perfect, cohort.take(rows), progress=False) for rows in (np.array([0]), np.array([]))
    )
    assert len(one) == 1
    assert len(none) == 0
    assert list(none) == list(one)
    assert none["dice"].dtype == one["dice"].dtype == float
    assert apply_policy(none, "fairseg").empty


def test_masks_of_one_pixel_and_of_all_pixels_are_scored_without_a_nan():
    masks = [np.ones((1, 1), np.uint8), np.ones((9, 4), np.uint8), np.ones((3, 4, 5), np.uint8)]
    table = score(perfect, small_cohort(masks), batch_size=1, progress=False)
    assert not table.isna().any(axis=None)
    assert table["truth_size"].tolist() == [1, 36, 60]
    assert table[["dice", "iou", "nsd"]].eq(1).all(axis=None)
    assert table[["hd95", "assd", "volume_error"]].eq(0).all(axis=None)
