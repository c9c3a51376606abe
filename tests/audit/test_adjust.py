"""The difference that is left among cases alike, on cohorts where it is known."""

import numpy as np
import pandas as pd
import pytest

from apple_seg.audit import AuditSettings, audit_scores
from apple_seg.audit.inference.adjust import adjust
from apple_seg.audit.inference.covariates import knots, levels, numbers, spline, strata, terms
from apple_seg.audit.inference.figures import Design, disaggregate
from apple_seg.data import Groups
from apple_seg.errors import ConfigError

LABELS = ("small", "large")


def design_of(codes, clusters=None, reference=0):
    return Design(
        codes=codes,
        clusters=np.arange(len(codes)) if clusters is None else clusters,
        labels=LABELS,
        reference=reference,
        confidence=0.95,
        resamples=0,
        seed=0,
    )


def confounded(gap=0.0, n=2000, seed=0):
    """Dice that depends on size, groups of unequal size, and a gap that is there besides."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2, n)
    size = np.exp(rng.normal(5.5 + 0.8 * codes, 0.8, n))
    dice = 1 - 2 / np.sqrt(size) - gap * codes + rng.normal(0, 0.03, n)
    return dice, codes, pd.Series(np.log1p(size))


@pytest.mark.parametrize("gap", [0.0, 0.02])
def test_what_size_makes_goes_and_what_is_there_besides_stays(gap):
    dice, codes, size = confounded(gap)
    design = design_of(codes)
    raw = disaggregate(dice, design).difference["large"]
    assert abs(raw.value - gap) > 0.03  # size alone makes a difference
    for found in adjust(dice, design, {"size": size}):
        assert found.difference["large"].low < gap < found.difference["large"].high, found.method
        assert abs(found.difference["large"].value - gap) < 0.006
        assert found.difference["large"].excludes_zero is (gap > 0)


def test_matching_by_hand():
    codes = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    place = pd.Series(list("aabbaabbbb")).map(lambda word: word * 3)
    place = place.repeat(10).reset_index(drop=True)  # levels of fewer than ten are taken together
    codes = codes.repeat(10)
    dice = np.where(place == "aaa", 0.9, 0.7) - 0.05 * codes
    dice[0] += 1.0  # 20 cases of the reference in `aaa`, so their mean is 0.95
    (_, found) = adjust(dice, design_of(codes), {"site": place})
    # In `aaa` 0.95 - 0.85, in `bbb` 0.70 - 0.65; a third of the group lies in `aaa`.
    assert found.difference["large"].value == pytest.approx((0.10 * 20 + 0.05 * 40) / 60)
    assert found.used == {"large": 1.0}


def test_cases_without_a_counterpart_are_left_out_and_their_share_is_told():
    dice, codes, size = confounded(n=400)
    foreign = np.where(codes == 1, "a" + pd.Series(np.arange(400) % 2).astype(str), "a0")
    regression, matching = adjust(dice, design_of(codes), {"site": pd.Series(foreign)})
    assert matching.used["large"] == pytest.approx((foreign[codes == 1] == "a0").mean())
    assert regression.difference["large"].known
    other = pd.Series(np.where(codes == 1, "x", "y"))  # tells the groups apart
    for found in adjust(dice, design_of(codes), {"site": other, "size": size}):
        assert not found.difference["large"].known


def test_adjusting_for_noise_changes_next_to_nothing():
    dice, codes, _ = confounded()
    raw = disaggregate(dice, design_of(codes)).difference["large"]
    noise = pd.Series(np.random.default_rng(7).normal(size=len(dice)))
    for found in adjust(dice, design_of(codes), {"noise": noise}):
        assert found.difference["large"].value == pytest.approx(raw.value, abs=0.002)
        assert found.difference["large"].se == pytest.approx(raw.se, rel=0.1)


def test_splines_are_linear_beyond_their_knots_and_reproduce_a_line():
    values = np.linspace(0, 100, 1001)
    at = knots(values)
    assert at == pytest.approx([5, 35, 65, 95])
    basis = spline(values, at)
    assert basis.shape == (1001, 3)
    bent = np.abs(np.diff(basis, 2, axis=0)).max(axis=1)
    outside = (values[1:-1] < 5) | (values[1:-1] > 95)
    assert bent[outside].max() < 1e-10 < bent[~outside].max()
    assert basis[:, 0] == pytest.approx((values - 5) / 90)


def test_columns_are_read_as_numbers_or_as_words():
    ages = pd.Series(["40", "unknown", "", "61.5", None])
    np.testing.assert_array_equal(numbers(ages), [40, np.nan, np.nan, 61.5, np.nan])
    assert numbers(pd.Series(["40", "old"])) is None
    words = pd.Series(["a"] * 12 + ["B"] * 11 + ["c", "d"] + ["unknown"] * 3)
    assert len(np.unique(levels(words))) == 4  # a, b, the two rare ones together, unknown
    assert terms(words).shape == (28, 3)
    many = pd.Series(np.r_[np.arange(99.0), np.nan])
    assert terms(many).shape == (100, 4)  # three of the spline, one that marks the unknown
    assert np.bincount(strata(many, 5)).tolist() == [20, 20, 19, 20, 20, 1]


def test_the_audit_adjusts_for_size_always_and_for_what_is_declared():
    dice, codes, size = confounded(n=300)
    scores = pd.DataFrame(
        {"case": np.arange(300), "cluster": np.arange(300), "class": "l", "dice": dice.clip(0, 1)}
    ).assign(truth_size=np.exp(size), predicted_size=9, unit="px")
    table = pd.DataFrame(
        {"case": np.arange(300), "sex": np.where(codes, "f", "m"), "dx": list("xyz") * 100}
    )
    groups = Groups(by={"sex": ["m", "f"]}, reference="sex = m")
    settings = AuditSettings(metrics=("dice",), resamples=0, covariates=("dx",))
    found = audit_scores(scores, table.iloc[::-1], groups, settings=settings)
    assert [(one.method, one.covariates) for one in found.adjusted] == [
        ("regression", ("mask size",)),
        ("matching", ("mask size",)),
        ("regression", ("mask size", "dx")),
        ("matching", ("mask size", "dx")),
    ]
    assert found.cases["dx"].tolist() == table["dx"].tolist()
    wrong = AuditSettings(metrics=("dice",), covariates=("scanner",))
    with pytest.raises(ConfigError, match="no column 'scanner' to adjust for"):
        audit_scores(scores, table, groups, settings=wrong)
    unsized = audit_scores(scores.assign(truth_size=np.nan), table, groups, settings=settings)
    assert [one.covariates for one in unsized.adjusted] == [("dx",), ("dx",)]
