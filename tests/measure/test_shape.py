import numpy as np
import pytest
from skimage.measure import euler_number, regionprops

from apple_seg.measure.probes import probe
from apple_seg.measure.shape import shape_features, shape_names


def named(mask):
    """Describe one mask (*spatial) by name."""
    names = shape_names(["x"], mask.ndim)
    return dict(zip((name[2:] for name in names), shape_features(mask[None]), strict=True))


def test_a_rectangle_is_described_as_by_hand():
    mask = np.zeros((20, 40), dtype=bool)
    mask[4:10, 8:32] = True  # 6 x 24
    found = named(mask)
    side = np.sqrt(20 * 40)
    expected = {
        "empty": 0,
        "size": 144 / 800,
        "log_size": np.log(144 / 800),
        "centre_h": 7 / 20,
        "centre_w": 20 / 40,
        "from_h": 4 / 20,
        "to_h": 10 / 20,
        "from_w": 8 / 40,
        "to_w": 32 / 40,
        "extent": 1,
        # The variance of a uniform side s is s^2 / 12; half axes are twice the deviation.
        "axis_1": 2 * 24 / np.sqrt(12) / side,
        "axis_2": 2 * 6 / np.sqrt(12) / side,
        "elongation": 1 - 6 / 24,
        "boundary": 60 / (4 * 12),  # 60 sides of pixels; a square of 144 has 48
        "parts": np.log(2),
        "euler": np.log(2),
        "touches": 0,
    }
    assert found == pytest.approx(expected)


def test_an_ellipsoid_has_its_own_half_axes_in_2d_and_3d():
    for shape, axes in (((90, 120), (20, 35)), ((40, 50, 60), (9, 12, 20))):
        grid = np.indices(shape).reshape(len(shape), -1).T - np.array(shape) / 2 + 0.5
        mask = ((grid / axes) ** 2).sum(1).reshape(shape) <= 1
        found, side = named(mask), np.prod(shape) ** (1 / len(shape))
        measured = [found[f"axis_{i + 1}"] * side for i in range(len(axes))]
        assert measured == pytest.approx(sorted(axes, reverse=True), rel=0.02)


def test_features_are_those_of_skimage_where_it_has_them():
    rng = np.random.default_rng(0)
    mask = rng.random((30, 30)) < 0.3
    mask[:3], mask[27:], mask[:, :4] = False, False, False
    found, theirs = named(mask), regionprops(mask.astype(np.uint8))[0]
    assert found["size"] == pytest.approx(theirs.area / 900)
    assert found["extent"] == pytest.approx(theirs.extent)
    assert [found["centre_h"], found["centre_w"]] == pytest.approx(
        [(centre + 0.5) / 30 for centre in theirs.centroid]
    )
    number = euler_number(mask)
    assert found["euler"] == pytest.approx(np.sign(number) * np.log1p(abs(number)))
    # Theirs leaves out the width of the pixels themselves.
    widths = [(found[f"axis_{i}"] * 30) ** 2 / 4 - 1 / 12 for i in (1, 2)]
    assert widths == pytest.approx(theirs.inertia_tensor_eigvals, rel=1e-9)


def test_holes_parts_and_the_border_are_seen():
    mask = np.zeros((20, 20), dtype=bool)
    mask[2:9, 2:9] = True
    mask[4:6, 4:6] = False  # a ring: one part, one hole
    ring = named(mask)
    assert (ring["parts"], ring["euler"], ring["touches"]) == (np.log(2), 0, 0)
    mask[15:, 15:] = True  # and a part at the border
    both = named(mask)
    assert (both["parts"], both["euler"], both["touches"]) == (np.log(3), np.log(2), 1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 5), (3, 4, 5), (1, 1, 1)])
def test_empty_full_and_tiny_masks_have_finite_features_and_the_empty_one_a_flag(shape):
    single = np.zeros(shape, dtype=bool)
    single[(0,) * len(shape)] = True
    for mask in (np.zeros(shape, dtype=bool), np.ones(shape, dtype=bool), single):
        found = named(mask)
        assert np.isfinite(list(found.values())).all()
        assert found["empty"] == float(not mask.any())
    empty = named(np.zeros(shape, dtype=bool))
    rest = {name: value for name, value in empty.items() if name != "empty"}
    assert set(rest.values()) == {0.0, 0.5}
    assert {name for name, value in rest.items() if value} == {
        f"centre_{axis}" for axis in "hwd"[: len(shape)]
    }


def test_classes_stand_one_after_the_other_and_what_is_read_twice_is_the_same():
    rng = np.random.default_rng(1)
    masks = rng.random((2, 12, 14)) < 0.4
    found = shape_features(masks)
    assert len(found) == len(shape_names(["lesion", "vessel"], 2))
    np.testing.assert_array_equal(
        found, np.r_[shape_features(masks[:1]), shape_features(masks[1:])]
    )
    np.testing.assert_array_equal(found, shape_features(masks))


def test_a_probe_reads_size_and_place_off_masks_and_nothing_where_groups_draw_alike():
    rng, rows, codes = np.random.default_rng(2), [], np.arange(120) % 2
    for planted in (True, False):
        features = []
        for code in codes:
            mask = np.zeros((1, 32, 32), dtype=bool)
            size = 6 + 3 * code * planted + rng.integers(0, 4)
            y, x = rng.integers(0, 32 - size, 2)
            mask[0, y : y + size, x : x + size] = True
            features.append(shape_features(mask))
        rows.append(probe(np.stack(features), codes, np.arange(120)))
    assert rows[0].low > 0.7
    assert rows[1].low < 0.5 < rows[1].high
