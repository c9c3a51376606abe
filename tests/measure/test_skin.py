"""The skin tone is estimated from skin, and from nothing else in the picture."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu
from skimage.color import rgb2lab

from apple_seg.data import Groups, synthetic
from apple_seg.data.synthetic import Dermoscopy
from apple_seg.errors import CaseError
from apple_seg.measure.skin import ITA_COLUMN, ITA_CUTS, ITA_NAMES, LEAST, ita_estimate, with_ita
from cohorts import toy_cohort

LIGHT, DARK = np.array([222, 178, 158]), np.array([153, 115, 94])
NOTHING = np.zeros((60, 80), bool)
GROUPS = Groups(by={ITA_COLUMN: ITA_CUTS}, reference=f"{ITA_COLUMN} >= 55")


def flat(colour, shape=(60, 80)):
    """Return an image (3, *shape) of one colour."""
    return np.full((3, *shape), np.reshape(colour, (3, 1, 1)), np.float32)


def ita_by_hand(colour):
    """Return L* and ITA of one sRGB colour in 0..255, step by step as IEC 61966 and CIE have it."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in np.asarray(colour) / 255
    ]
    rows = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750]]
    rows.append([0.0193339, 0.1191920, 0.9503041])
    xyz = [sum(a * b for a, b in zip(row, linear, strict=True)) for row in rows]
    shares = [value / white for value, white in zip(xyz, (0.95047, 1.0, 1.08883), strict=True)]
    _, y, z = (
        share ** (1 / 3) if share > 216 / 24389 else 7.787 * share + 4 / 29 for share in shares
    )
    lightness, yellow = 116 * y - 16, 200 * (y - z)
    return lightness, math.degrees(math.atan2(lightness - 50, yellow))


@pytest.mark.parametrize("colour", [LIGHT, DARK, (241, 194, 125), (141, 85, 36), (60, 46, 40)])
def test_a_flat_colour_has_the_angle_that_the_formula_gives_by_hand(colour):
    lightness, expected = ita_by_hand(colour)
    one_pixel = rgb2lab(np.reshape(colour, (1, 1, 3)) / 255)[0, 0]
    assert lightness == pytest.approx(one_pixel[0], abs=0.01)
    found = ita_estimate(flat(colour), NOTHING)
    assert found.value == pytest.approx(expected, abs=0.05)
    # The ellipse holds pi / 4 of the picture.
    assert found.usable / found.pixels == pytest.approx(math.pi / 4, abs=0.03)


def test_the_estimate_falls_from_light_to_dark_skin_through_the_named_classes():
    tones = [LIGHT * share for share in np.linspace(1.08, 0.25, 12)]
    found = [ita_estimate(flat(tone), NOTHING).value for tone in tones]
    assert found == sorted(found, reverse=True)
    named = [ITA_NAMES[np.digitize(value, ITA_CUTS)] for value in found]
    assert list(dict.fromkeys(named)) == list(reversed(ITA_NAMES))
    codes = GROUPS.codes(pd.DataFrame({ITA_COLUMN: [*found, np.nan]}))
    assert codes.tolist() == [*(ITA_NAMES.index(name) for name in named), -1]


def test_lesion_halo_hair_frame_vignette_and_reflections_do_not_move_it():
    rng = np.random.default_rng(0)
    clean = flat(LIGHT, (120, 160)) + rng.normal(0, 3, (3, 120, 160)).astype(np.float32)
    expected = ita_by_hand(LIGHT)[1]
    y, x = np.mgrid[:120, :160]
    away = np.hypot(y - 60, x - 80)
    mask, halo = away <= 30, (away > 30) & (away <= 35)
    radius = np.hypot((y - 59.5) / 60, (x - 79.5) / 80)
    picture = clean.copy()
    picture[:, mask], picture[:, halo] = np.reshape([70, 40, 40], (3, 1)), 110
    picture *= np.clip(1 - 2 * np.clip(radius - 1, 0, 1), 0, 1)  # vignette
    picture[:, :6], picture[:, :, -9:] = 2, 0  # frame
    picture[:, 8:100:9, :] = 25  # hair
    picture[:, 15:19, 20:90] = 254  # reflection
    picture = np.clip(picture, 0, 255).astype(np.float32)
    assert ita_estimate(picture, mask).value == pytest.approx(expected, abs=0.5)
    # Left in, they would: the plain mean of all pixels is far away, and so is a mask that misses.
    assert abs(ita_by_hand(picture.mean((1, 2)))[1] - expected) > 10
    small = away <= 1
    covered = np.where(away <= 50, np.reshape([70, 40, 40], (3, 1, 1)), clean).astype(np.float32)
    assert abs(ita_estimate(covered, small).value - expected) > 10


def test_where_too_little_skin_is_to_be_seen_there_is_no_estimate_and_the_count_says_why():
    covered = np.ones((60, 80), bool)
    covered[28:32] = False  # the margin takes the rest
    for image, mask in ((flat(LIGHT), covered), (flat([3, 3, 3]), NOTHING)):
        found = ita_estimate(image, mask)
        assert math.isnan(found.value)
        assert found.usable < LEAST * found.pixels == LEAST * 4800
    covered[20:40] = False
    assert ita_estimate(flat(LIGHT), covered).value == pytest.approx(ita_by_hand(LIGHT)[1], abs=0.1)


def test_the_fading_edge_of_a_black_frame_is_not_taken_for_darker_skin(monkeypatch):
    y, x = np.mgrid[:120, :160]
    away = np.hypot(y - 60, x - 80)
    seen = np.clip((52 - away) / 8, 0, 1).astype(np.float32)  # fades from radius 44 to 52
    assert math.isnan(ita_estimate(flat(LIGHT, (120, 160)) * seen, away <= 38).value)
    monkeypatch.setattr("apple_seg.measure.skin.FRAME", 40)  # no square so large is black
    fooled = ita_estimate(flat(LIGHT, (120, 160)) * seen, away <= 38).value
    assert fooled < ita_by_hand(LIGHT)[1] - 10


def test_large_images_values_up_to_one_and_several_classes_give_the_same():
    rng = np.random.default_rng(1)
    large = (flat(DARK, (700, 900)) + rng.normal(0, 5, (3, 700, 900))).astype(np.float32)
    planes = np.zeros((2, 700, 900), bool)
    planes[0, 300:400, 300:400] = planes[1, 400:500, 400:500] = True
    large[:, planes.any(0)] = 20
    expected = ita_by_hand(DARK)[1]
    found = ita_estimate(large, planes)
    assert found.value == pytest.approx(expected, abs=0.5)
    assert found.pixels < 700 * 900
    scaled = ita_estimate((large / 255).astype(np.float32), planes, maximum=1.0)
    assert scaled.value == pytest.approx(found.value, abs=1e-3)


def separation(settings):
    """Return how well the estimate tells the planted groups apart (AUC), and their medians."""
    cohort = with_ita(synthetic.cohort(settings), progress=False)
    values, codes = cohort.table[ITA_COLUMN].to_numpy(), synthetic.GROUPS.codes(cohort.table)
    a, b = values[codes == 0], values[codes == 1]
    return mannwhitneyu(a, b).statistic / (len(a) * len(b)), np.median(a), np.median(b)


def test_the_planted_skin_tones_of_a_cohort_come_out_of_its_images():
    options = {"size": 64, "splits": {"test": (60, 60)}, "images_per_patient": 1}
    auc, light, dark = separation(Dermoscopy(**options, shows=1.0, disturbs=0.0))
    assert auc > 0.99
    # A tenth of the way from light to dark skin, and all of it: what the synthetic set plants.
    assert light == pytest.approx(ita_by_hand(LIGHT + 0.1 * (DARK - LIGHT))[1], abs=5)
    assert dark == pytest.approx(ita_by_hand(DARK)[1], abs=5)
    # Hair and blotches on one group's pictures do not make a difference of skin, nor hide one.
    assert separation(Dermoscopy(**options, shows=1.0, disturbs=1.0))[0] > 0.99
    assert 0.35 < separation(Dermoscopy(**options, shows=0.0, disturbs=1.0))[0] < 0.65


def test_the_column_is_an_estimate_by_name_and_leaves_the_cohort_as_it_was():
    cohort = synthetic.cohort(Dermoscopy(size=32, splits={"test": (3, 3)}))
    extended = with_ita(cohort, progress=False)
    assert [*extended.table.columns] == [*cohort.table.columns, "ita_estimate"]
    assert ITA_COLUMN not in cohort.table
    found = [ita_estimate(case.image, case.mask).value for case in cohort]
    assert extended.table[ITA_COLUMN].tolist() == found
    assert extended[4].row[ITA_COLUMN] == found[4]
    assert GROUPS.codes(extended.table).tolist() == np.digitize(found, ITA_CUTS).tolist()


@pytest.mark.parametrize(
    ("image", "mask", "words"),
    [
        (np.zeros((1, 60, 80)), NOTHING, r"\(1, 60, 80\) has no skin tone: \(3, H, W\) in colour"),
        (np.zeros((3, 60, 80, 4)), NOTHING, "in colour is expected"),
        (flat(LIGHT), NOTHING.T, r"the mask is \(80, 60\), its image \(3, 60, 80\)"),
        (flat(LIGHT) * 2, NOTHING, "values from 316 to 444, where 0 to 255 are declared"),
        (flat(LIGHT) - 200, NOTHING, "values from -42 to 22"),
    ],
)
def test_what_has_no_skin_tone_is_refused(image, mask, words):
    with pytest.raises(CaseError, match=words):
        ita_estimate(image.astype(np.float32), mask)


def test_a_cohort_without_colour_masks_or_skin_is_refused_with_the_case():
    with pytest.raises(CaseError, match=r"train/0\.npy: has no mask"):
        with_ita(toy_cohort(2, masked=False), progress=False)
    # Their values go from 0 to 4: nearly black where white is 255.
    with pytest.raises(CaseError, match="none of 4 images has 10% of usable skin"):
        with_ita(toy_cohort(4), progress=False)
    grey = toy_cohort(2)
    for name in grey.source.files:
        grey.source.files[name] = grey.source.files["train/0-mask.npy"]
    with pytest.raises(CaseError, match=r"train/0\.npy: an image of \(1, 16, 16\) has no skin"):
        with_ita(grey, progress=False)
