import numpy as np
import pytest
import torch
from medpy.metric import binary
from monai.metrics.surface_dice import compute_surface_dice

from apple_seg.measure import METRICS, Pair, measure
from apple_seg.measure.metrics import crop

NAMES = tuple(METRICS)


def blobs(seed, shape):
    """Two masks that overlap, wherever they lie; some touch the edge of the image."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape)
    centre = rng.uniform(0.1, 0.9, len(shape)) * shape
    masks = []
    for shift in (0, 2):
        squared = sum((g - c - shift) ** 2 for g, c in zip(grid, centre, strict=True))
        masks.append(squared < (0.2 * min(shape) + rng.uniform(0, 3)) ** 2)
    return masks


def surface_dice(predicted, truth, tolerance, spacing):
    tensors = (torch.from_numpy(mask)[None, None] for mask in (predicted, truth))
    return float(compute_surface_dice(*tensors, [tolerance], True, spacing=spacing))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((40, 56), None), ((40, 56), (0.5, 2.0)), ((20, 24, 16), (1.0, 0.7, 3.0))],
)
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_metrics_on_cut_masks_are_those_of_the_libraries_on_whole_masks(seed, shape, spacing):
    predicted, truth = blobs(seed, shape)
    assert crop(predicted, truth)[0].size < predicted.size  # else nothing is shown here

    found = measure(Pair(predicted, truth, spacing, 1.5), NAMES)

    assert found["dice"] == pytest.approx(binary.dc(predicted, truth), abs=1e-7)
    assert found["nsd"] == pytest.approx(surface_dice(predicted, truth, 1.5, spacing), abs=1e-6)
    assert found["hd95"] == pytest.approx(binary.hd95(predicted, truth, spacing), rel=1e-12)
    assert found["assd"] == pytest.approx(binary.assd(predicted, truth, spacing), rel=1e-12)


def test_numbers_of_two_squares_are_those_counted_by_hand():
    truth, predicted = np.zeros((2, 12, 12), dtype=bool)
    truth[2:6, 2:6] = True  # 16 pixels, 12 of them border
    predicted[2:6, 4:8] = True  # moved by 2: half of it overlaps

    found = measure(Pair(predicted, truth, None, 1.0), NAMES)

    assert found["dice"] == 0.5
    # Of the truth's 12, within 1 px of the prediction's border: the last three of the top and of
    # the bottom row, and the middle two of the right column; of the prediction's as many.
    assert found["nsd"] == pytest.approx(8 / 12)
    assert found["hd95"] == 2.0
    wide = measure(Pair(predicted, truth, (1.0, 3.0), 1.0), NAMES)
    assert wide["hd95"] > found["hd95"]  # spacing counts


@pytest.mark.parametrize(
    ("predicted", "truth", "dice", "nsd"),
    [(False, False, np.nan, np.nan), (False, True, 0.0, 0.0), (True, False, 0.0, 0.0)],
)
def test_empty_masks_score_what_the_policy_skip_says(predicted, truth, dice, nsd):
    masks = [np.full((8, 8), False) for _ in range(2)]
    masks[0][2:4, 2:4], masks[1][3:6, 3:6] = predicted, truth

    found = measure(Pair(*masks, None, 2.0), NAMES)

    np.testing.assert_equal(found, {"dice": dice, "nsd": nsd, "hd95": np.nan, "assd": np.nan})
