import numpy as np
import pytest
import torch
from medpy.metric import binary
from monai.metrics.surface_dice import compute_surface_dice
from monai.metrics.utils import get_mask_edges
from scipy import ndimage

from apple_seg.measure import METRICS, Pair, measure
from apple_seg.measure.metrics import crop, surface

NAMES = tuple(METRICS)
GRIDS = [
    ((40, 56), None),
    ((40, 56), (0.5, 2.0)),
    ((20, 24, 16), None),
    ((20, 24, 16), (1.0, 0.7, 3.0)),
]


def blobs(draw, shape):
    """Two masks that overlap, wherever they lie; some touch the edge of the image."""
    grid = np.indices(shape)
    centre = draw.uniform(0.1, 0.9, len(shape)) * shape
    masks = []
    for shift in (0, 2):
        squared = sum((g - c - shift) ** 2 for g, c in zip(grid, centre, strict=True))
        masks.append(squared < (0.2 * min(shape) + draw.uniform(0, 3)) ** 2)
    return masks


def speckles(draw, shape):
    """Noise: holes, bridges and islands of every kind."""
    return [draw.random(shape) < draw.uniform(0.05, 0.95) for _ in range(2)]


def points(draw, shape):
    """A voxel each."""
    masks = np.zeros((2, *shape), dtype=bool)
    for mask in masks:
        mask.flat[draw.integers(mask.size)] = True
    return list(masks)


def borders(draw, shape):
    """All of the image, and a slab along its edge."""
    slab = np.zeros(shape, dtype=bool)
    slab[: draw.integers(1, 4)] = True
    return [slab, np.ones(shape, dtype=bool)]


def surface_dice(predicted, truth, tolerance, spacing):
    tensors = (torch.from_numpy(mask)[None, None] for mask in (predicted, truth))
    return float(compute_surface_dice(*tensors, [tolerance], True, spacing=spacing))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", [blobs, speckles, points, borders])
@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_every_metric_is_that_of_its_library_on_whole_masks(seed, kind, shape, spacing):
    predicted, truth = kind(np.random.default_rng(seed), shape)
    for tolerance in (0.0, 1.0, 2.1):
        found = measure(Pair(predicted, truth, spacing, tolerance), NAMES)
        # MONAI says it in single precision.
        theirs = surface_dice(predicted, truth, tolerance, spacing)
        assert float(np.float32(found["nsd"])) == pytest.approx(theirs, rel=0, abs=1e-9)
    assert found["dice"] == pytest.approx(binary.dc(predicted, truth), rel=0, abs=1e-9)
    assert found["iou"] == pytest.approx(binary.jc(predicted, truth), rel=0, abs=1e-9)
    assert found["hd95"] == pytest.approx(binary.hd95(predicted, truth, spacing), rel=0, abs=1e-9)
    assert found["assd"] == pytest.approx(binary.assd(predicted, truth, spacing), rel=0, abs=1e-9)
    assert found["volume_error"] == pytest.approx(binary.ravd(predicted, truth), rel=0, abs=1e-9)
    stretched = measure(Pair(predicted, truth, (7.0,) * len(shape), 2.1), NAMES)
    assert not found["assd"] or stretched["assd"] != found["assd"]  # spacing counts


@pytest.mark.parametrize("shape", [(40, 56), (20, 24, 16), (1, 1), (1, 7), (2, 3, 1)])
@pytest.mark.parametrize("kind", [blobs, speckles, points, borders])
def test_surfaces_are_the_edges_of_monai_and_the_borders_of_medpy(kind, shape):
    for mask in kind(np.random.default_rng(0), shape):
        ours = surface(mask)
        np.testing.assert_array_equal(ours, get_mask_edges(mask, mask, crop=False)[0])
        faces = ndimage.generate_binary_structure(mask.ndim, 1)
        np.testing.assert_array_equal(ours, mask ^ ndimage.binary_erosion(mask, faces))
    inner = surface(np.ones((5, 5), dtype=bool))
    assert inner.sum() == 16  # all but the middle 9


@pytest.mark.parametrize("shape", [(40, 56), (20, 24, 16)])
def test_cutting_leaves_out_background_only(shape):
    predicted, truth = blobs(np.random.default_rng(1), shape)
    cut = crop(predicted, truth)
    assert cut[0].shape == cut[1].shape
    assert cut[0].size < predicted.size
    assert [mask.sum() for mask in cut] == [predicted.sum(), truth.sum()]


def test_numbers_of_two_squares_are_those_counted_by_hand():
    truth, predicted = np.zeros((2, 12, 12), dtype=bool)
    truth[2:6, 2:6] = True  # 16 pixels, 12 of them border
    predicted[2:6, 4:10] = True  # 24 pixels, of which 8 are the truth's

    found = measure(Pair(predicted, truth, None, 1.0), NAMES)

    assert found["dice"] == 2 * 8 / 40
    assert found["iou"] == 8 / 32
    assert found["volume_error"] == (24 - 16) / 16
    back = measure(Pair(truth, predicted, None, 1.0), NAMES)
    assert back["volume_error"] == (16 - 24) / 24
    assert {**back, "volume_error": 0.5} == found  # the others are the same both ways
    predicted[2:6, 8:] = False  # the truth moved by 2
    # Of the truth's 12, within 1 px of the prediction's border: the last three of the top and of
    # the bottom row, and the middle two of the right column; of the prediction's as many.
    moved = measure(Pair(predicted, truth, None, 1.0), NAMES)
    assert moved["nsd"] == 8 * 2 / 24
    assert moved["hd95"] == 2.0


def test_a_distance_of_just_the_tolerance_is_within_it():
    truth, predicted = np.zeros((2, 8, 8), dtype=bool)
    truth[2, 2] = predicted[2, 5] = True  # 0.1 + 0.1 + 0.1 is more than 0.3 in floating point
    spacing = (1.0, 0.1)
    assert measure(Pair(predicted, truth, spacing, 0.3), NAMES)["nsd"] == 1.0
    assert measure(Pair(predicted, truth, spacing, 0.299), NAMES)["nsd"] == 0.0


def test_masks_of_one_pixel_and_of_all_pixels_are_scored():
    one = np.ones((1, 1), dtype=bool)
    perfect = {"dice": 1, "iou": 1, "nsd": 1, "hd95": 0, "assd": 0, "volume_error": 0}
    assert measure(Pair(one, one, None, 0.0), NAMES) == perfect
    whole = np.ones((6, 5, 4), dtype=bool)
    assert measure(Pair(whole, whole, (1.0, 2.0, 3.0), 0.0), NAMES) == perfect
    assert measure(Pair(whole[:, :, :2], whole[:, :, 2:], None, 0.0), NAMES) == perfect


@pytest.mark.parametrize(
    ("predicted", "truth", "overlap", "volume_error"),
    [(False, False, np.nan, np.nan), (False, True, 0.0, -1.0), (True, False, 0.0, np.nan)],
)
def test_empty_masks_score_what_the_policy_skip_says(predicted, truth, overlap, volume_error):
    masks = [np.full((8, 8), False) for _ in range(2)]
    masks[0][2:4, 2:4], masks[1][3:6, 3:6] = predicted, truth

    found = measure(Pair(*masks, None, 2.0), NAMES)

    expected = {
        **dict.fromkeys(("dice", "iou", "nsd"), overlap),
        **dict.fromkeys(("hd95", "assd"), np.nan),
        "volume_error": volume_error,
    }
    np.testing.assert_equal(found, expected)


def test_metrics_say_which_way_is_better():
    kinds = {name: metric.kind for name, metric in METRICS.items()}
    assert {name for name, kind in kinds.items() if kind == "signed"} == {"volume_error"}
    assert [METRICS[name].overlap for name in NAMES] == [kinds[n] == "overlap" for n in NAMES]
    assert METRICS["volume_error"].title == "volume error"
    assert METRICS["iou"].title == "IoU"
