"""The numbers of other tools are theirs, to the last digit that they print and beyond."""

import statistics

import fairlearn.metrics
import fairmedfm
import numpy as np
import pandas as pd
import pytest

from apple_seg.audit.conventions import CONVENTIONS, convention, conventions
from apple_seg.audit.inference.figures import Design, disaggregate
from apple_seg.measure import Pair, apply_policy, measure

LABELS = ("a", "b", "c")
EXACT = {"rel": 0, "abs": 1e-9}


def drawn(seed, *, nan=0.1, unknown=0.1, n=200):
    """Return skewed scores as real Dice is, some of them NaN, and codes, some of them unknown."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, len(LABELS), n)
    dice = rng.beta(8, 1 + 0.4 * codes)
    dice[rng.random(n) < nan] = np.nan
    codes[rng.random(n) < unknown] = -1
    return dice, codes


def named(codes):
    """Return the groups as other libraries take them, missing where they are not known."""
    return [LABELS[code] if code >= 0 else None for code in codes]


@pytest.mark.parametrize("seed", range(20))
def test_fairmedfms_figures_are_those_of_the_package_with_nan_and_unknown_left_out(seed):
    dice, codes = drawn(seed)
    found = convention("fairmedfm", dice, codes, labels=LABELS)
    report = fairmedfm.evaluate_segmentation(pd.Series(named(codes)), dice=dice)
    theirs = report.summary.iloc[0]
    assert found.figures == {name: pytest.approx(theirs[name], **EXACT) for name in found.figures}
    assert set(theirs.index) == {"n", "n_groups", *found.figures}
    assert found.n_cases == theirs["n"] < len(dice)
    by_group = report.by_group.loc["sensitive", "mean_dice"]
    assert found.by_group == {label: pytest.approx(by_group[label], **EXACT) for label in LABELS}
    # They say so, and the figures would be others otherwise.
    assert sum("left out" in warning for warning in report.warnings) == 2
    assert found.figures["mean_dice"] != pytest.approx(np.nanmean(dice), **EXACT)


def test_fairmedfms_single_numbers_are_the_same():
    dice, codes = drawn(3, nan=0, unknown=0)
    found = convention("fairmedfm", dice, codes, labels=LABELS).figures
    for name, function in [
        ("delta_dice", fairmedfm.dice_gap),
        ("min_dice", fairmedfm.worst_group_dice),
        ("std_dice", fairmedfm.dice_std),
        ("skewness_dice", fairmedfm.dice_skewness),
        ("es_dice", fairmedfm.equity_scaled_dice),
    ]:
        theirs = function(dice, sensitive_features=named(codes))
        assert found[name] == pytest.approx(theirs, **EXACT)


@pytest.mark.parametrize(
    ("dice", "codes", "undefined"),
    [
        ([1.0, 1.0, 0.8, 0.6], [0, 0, 1, 1], {"skewness_dice"}),  # the best group is perfect
        ([1.0, 1.0, 1.0, 1.0], [0, 0, 1, 1], {"skewness_dice"}),
        ([0.0, 0.0, 0.0, 0.0], [0, 0, 1, 1], set()),
        ([0.9, 0.8, 0.7, 0.6], [0, 0, 0, 0], None),  # one group only
        ([0.9, 0.8, np.nan, np.nan], [0, 0, 1, 1], None),  # the other has no score
        ([0.9, 0.8, 0.7, 0.6], [0, 0, -1, -1], None),
    ],
)
def test_fairmedfm_leaves_undefined_what_the_package_leaves_undefined(dice, codes, undefined):
    found = convention("fairmedfm", np.array(dice), np.array(codes), labels=LABELS).figures
    report = fairmedfm.evaluate_segmentation(named(codes), dice=dice)
    theirs = report.summary.iloc[0]
    for name, value in found.items():
        assert value == pytest.approx(theirs.get(name, np.nan), nan_ok=True, **EXACT), name
        assert np.isnan(value) == (undefined is None or name in undefined), name


def fairseg_by_hand(values, groups, names):
    """Return ES and ES-std as FairSeg's formulas say, in plain Python."""
    overall = sum(values) / len(values)
    means = [
        statistics.fmean(v for v, group in zip(values, groups, strict=True) if group == name)
        for name in names
    ]
    scaled = overall / (1 + sum(abs(mean - overall) for mean in means))
    return overall, scaled, overall / (1 + statistics.stdev(means))


@pytest.mark.parametrize("seed", range(20))
def test_fairsegs_figures_mix_all_cases_with_groups_of_the_known(seed):
    dice, codes = drawn(seed, nan=0)
    found = convention("fairseg", dice, codes, labels=LABELS)
    expected = fairseg_by_hand(dice.tolist(), codes.tolist(), range(3))
    assert tuple(found.figures.values()) == pytest.approx(expected, **EXACT)
    assert (found.n_cases, found.n_grouped) == (200, int((codes >= 0).sum()))
    known = codes >= 0
    alone = convention("fairseg", dice[known], codes[known], labels=LABELS)
    assert alone.figures["es_dice"] != pytest.approx(found.figures["es_dice"], **EXACT)
    # A NaN is left out by fairmedfm and spoils FairSeg's means.
    dice[np.flatnonzero(known)[0]] = np.nan
    assert np.isnan(convention("fairseg", dice, codes, labels=LABELS).figures["es_dice"])
    assert np.isfinite(convention("fairmedfm", dice, codes, labels=LABELS).figures["es_dice"])


def masks(*filled):
    """Return a truth and a prediction (4, 4) of so many rows."""
    return [np.arange(16).reshape(4, 4) < 4 * rows for rows in filled]


def test_empty_masks_are_scored_as_fairsegs_helper_and_as_fairmedfm_score_them():
    rows, pairs = [], []
    for number, (truth, predicted) in enumerate([(2, 1), (0, 0), (0, 2), (2, 0)]):
        true_mask, mask = masks(truth, predicted)
        pairs.append((true_mask, mask))
        scores = measure(Pair(mask, true_mask, None, 1.0), ["dice", "hd95"])
        intersection, union = (true_mask & mask).sum(), (true_mask | mask).sum()
        sizes = {"truth_size": true_mask.sum(), "predicted_size": mask.sum()}
        iou = intersection / union if union else np.nan
        rows.append({"case": f"c{number}", "cluster": f"p{number}", **sizes, **scores, "iou": iou})
    table = pd.DataFrame(rows)
    found = apply_policy(table, "fairseg")
    # Both there, both empty, false positive, miss.
    assert found["dice"].tolist() == pytest.approx([2 / 3, 0, 1, 0])
    assert found["iou"].tolist() == pytest.approx([1 / 2, 0, 1, 0])
    assert found["hd95"].tolist() == pytest.approx([1, 0, 0, 0])
    # Under a policy that is not theirs two of these four differ.
    assert table["dice"].tolist() == pytest.approx([2 / 3, np.nan, 0, 0], nan_ok=True)
    truths, predictions = zip(*pairs, strict=True)
    report = fairmedfm.evaluate_segmentation(
        ["a", "a", "b", "b"], pred_masks=list(predictions), true_masks=list(truths)
    )
    ours = conventions(
        table.assign(**{"class": "x"}), np.array([0, 0, 1, 1]), labels=("a", "b"), policy="skip"
    )["fairmedfm"]
    theirs = {name: report.summary.iloc[0][name] for name in ours.figures}
    assert ours.figures == pytest.approx(theirs, **EXACT)
    assert theirs["mean_dice"] == pytest.approx((2 / 3 + 1 + 0 + 0) / 4)


def test_each_tool_gets_its_own_policy_and_the_mean_over_classes_of_each_case():
    rows = [
        ("c0", "cup", 9, 9, 0.9),
        ("c0", "rim", 9, 9, 0.7),
        ("c1", "cup", 0, 9, 0.0),  # false positive
        ("c1", "rim", 9, 9, 0.8),
        ("c2", "cup", 0, 0, np.nan),
        ("c2", "rim", 9, 9, 0.6),
    ]
    names = ["case", "class", "truth_size", "predicted_size", "dice"]
    table = pd.DataFrame(rows, columns=names).assign(cluster="p")
    codes = np.array([0, 1, 1])
    found = conventions(table, codes, labels=("a", "b"), policy="skip")
    assert set(found) == set(CONVENTIONS)
    # FairSeg: 0.8, (1 + 0.8) / 2, (0 + 0.6) / 2; fairmedfm: 0.8, 0.4, 0.8; the audit: 0.8, 0.4, 0.6
    assert found["fairseg"].by_group == pytest.approx({"a": 0.8, "b": 0.6})
    assert found["fairmedfm"].by_group == pytest.approx({"a": 0.8, "b": 0.6})
    assert found["fairlearn"].by_group == pytest.approx({"a": 0.8, "b": 0.5})
    assert found["fairseg"].figures["dice"] == pytest.approx((0.8 + 0.9 + 0.3) / 3)
    expected = fairseg_by_hand([0.8, 0.9, 0.3], [0, 1, 1], range(2))
    assert found["fairseg"].figures["es_dice"] == pytest.approx(expected[1])
    # Where sizes are not known nothing is made up for FairSeg.
    unsized = table.assign(truth_size=np.nan)
    assert set(conventions(unsized, codes, labels=("a", "b"), policy="skip")) == {
        *("fairmedfm", "fairlearn", "ser")
    }


def test_the_three_meanings_of_es_dice_of_groups_at_90_and_80():
    """The figures that are published for comparison: .773, .794 and .810."""
    dice, codes = np.repeat([0.9, 0.8], 50), np.repeat([0, 1], 50)
    theirs = convention("fairseg", dice, codes, labels=LABELS[:2]).figures
    assert round(theirs["es_dice"], 3) == 0.773
    assert round(theirs["es_std_dice"], 3) == 0.794
    assert round(convention("fairmedfm", dice, codes, labels=LABELS[:2]).figures["es_dice"], 3) == (
        0.810
    )


def test_the_published_row_of_sam_on_tusc():
    """Mean 0.2601 of groups at 0.2563 and 0.2800: 84 cases of 100 in the first give that mean."""
    dice, codes = np.repeat([0.2563, 0.2800], [84, 16]), np.repeat([0, 1], [84, 16])
    found = convention("fairmedfm", dice, codes, labels=LABELS[:2]).figures
    published = {
        **{"mean_dice": 0.2601, "min_dice": 0.2563, "max_dice": 0.2800, "delta_dice": 0.0237},
        **{"skewness_dice": 1.0329, "std_dice": 0.0118, "es_dice": 0.2571},
    }
    assert found == {name: pytest.approx(value, abs=1e-4) for name, value in published.items()}
    ser = convention("ser", dice, codes, labels=LABELS[:2]).figures["ser"]
    assert ser == pytest.approx(1.0329, abs=5e-5)


@pytest.mark.parametrize("seed", range(5))
def test_fairlearns_metric_frame_gives_our_overall_by_group_and_difference(seed):
    dice, codes = drawn(seed)
    known = codes >= 0  # fairlearn refuses the others
    frame = fairlearn.metrics.MetricFrame(
        metrics=lambda _truth, score: np.nanmean(score),
        y_true=dice[known],
        y_pred=dice[known],
        sensitive_features=np.array(LABELS)[codes[known]],
    )
    found = convention("fairlearn", dice, codes, labels=LABELS)
    expected = {name: getattr(frame, name)() for name in found.figures if name != "overall"}
    assert len(expected) == 4
    assert found.figures == pytest.approx(expected | {"overall": frame.overall}, **EXACT)
    assert found.by_group == pytest.approx(frame.by_group.to_dict(), **EXACT)
    # So are the audit's own figures, whose difference has a sign and a declared reference.
    ours = disaggregate(dice, Design(codes, np.arange(len(dice)), LABELS, 0, 0.95, 0, 0))
    means = {label: one.value for label, one in ours.by_group.items()}
    assert means == pytest.approx(frame.by_group.to_dict(), **EXACT)
    assert ours.group_min == pytest.approx(frame.group_min(), **EXACT)
    assert ours.group_max == pytest.approx(frame.group_max(), **EXACT)
    assert {label: one.value for label, one in ours.difference.items()} == pytest.approx(
        {label: frame.by_group["a"] - frame.by_group[label] for label in "bc"}, **EXACT
    )
    # Theirs is of known groups only, the audit's overall figure of all.
    assert ours.overall.value == pytest.approx(np.nanmean(dice), **EXACT)
    assert ours.overall.value != pytest.approx(frame.overall, **EXACT)


def test_nothing_to_say_is_nan_and_no_warning():
    nothing = np.array([]), np.array([], dtype=int)
    for name in CONVENTIONS:
        for dice, codes in (nothing, (np.array([np.nan]), np.array([-1]))):
            figures = convention(name, dice, codes, labels=LABELS).figures
            assert all(np.isnan(value) for value in figures.values()), name
        one = convention(name, np.array([0.5]), np.array([0]), labels=LABELS[:1]).figures
        assert one.keys() == figures.keys()


@pytest.mark.parametrize(
    ("name", "dice", "codes", "words"),
    [
        ("nnunet", [0.5], [0], "no convention 'nnunet'; known are: fairmedfm, fairseg"),
        ("fairseg", [0.5, 0.6], [0], "one score and one code below 3 a case"),
        ("fairseg", [0.5], [3], "one score and one code below 3 a case"),
        ("fairmedfm", [92.5], [0], "scores in"),
    ],
)
def test_what_no_convention_can_be_taken_of_is_refused(name, dice, codes, words):
    with pytest.raises(ValueError, match=words):
        convention(name, np.array(dice), np.array(codes), labels=LABELS)
