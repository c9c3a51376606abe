"""The oracle's Dice is the wished one, and a planted cohort holds what was planted."""

import numpy as np
import pytest
from medpy.metric.binary import dc
from scipy.ndimage import binary_dilation, binary_erosion, label
from scipy.stats import kstest

from apple_seg.data.cohort import Case
from apple_seg.data.oracle import Oracle, PlantedCohort, nearest_counts, plant, with_dice
from apple_seg.errors import CaseError


def disc(size=32, radius=9, axes=2):
    line = np.arange(size) - size / 2
    return sum(part**2 for part in np.meshgrid(*[line] * axes)) <= radius**2


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("wished", [0.0, 0.02, 0.3, 0.5, 0.777, 0.85, 0.9, 0.99, 1.0])
def test_a_mask_has_the_wished_dice(axes, wished):
    truth = disc(axes=axes)
    predicted = with_dice(truth, wished)
    assert predicted.shape == truth.shape
    assert dc(predicted, truth) == pytest.approx(wished, abs=5e-5)


def test_dice_one_is_the_truth_and_dice_zero_touches_nothing_of_it():
    truth = disc()
    np.testing.assert_array_equal(with_dice(truth, 1.0), truth)
    missed = with_dice(truth, 0.0)
    assert missed.sum() == truth.sum()
    assert not (missed & truth).any()


@pytest.mark.parametrize(("truth", "typical"), [(100, 2e-4), (250, 5e-5), (1000, 5e-6)])
def test_the_error_is_small_as_a_rule_and_bounded_next_to_simple_fractions(truth, typical):
    wished = np.random.default_rng(truth).uniform(0, 1, 500)
    error = [abs(nearest_counts(truth, 4 * truth, dice).dice - dice) for dice in wished]
    assert np.mean(error) < typical
    assert np.max(error) <= 0.25 / truth + 1e-5


def test_the_counts_are_those_that_an_exhaustive_search_finds():
    truth, room = 13, 30
    for wished in np.linspace(0, 1, 57):
        best = min(
            abs(2 * overlap / (truth + predicted) - wished)
            for predicted in range(3 * truth + 1)
            for overlap in range(max(0, predicted - room), min(truth, predicted) + 1)
        )
        counts = nearest_counts(truth, room, wished)
        assert abs(counts.dice - wished) <= best + 2.1e-5
        assert 0 <= counts.predicted - counts.overlap <= room


@pytest.mark.parametrize("room", [0, 3])
def test_without_room_around_the_truth_the_prediction_shrinks(room):
    truth = np.ones((12, 12), bool)
    truth.ravel()[:room] = False
    for wished in (0.0, 0.5, 0.9, 1.0):
        assert dc(with_dice(truth, wished), truth) == pytest.approx(wished, abs=5e-3)


def test_the_shape_lacks_border_and_grows_at_the_border():
    truth = disc()
    predicted = with_dice(truth, 0.9)
    assert predicted[binary_erosion(truth, iterations=3)].all()
    assert not predicted[~binary_dilation(truth, iterations=3)].any()
    assert label(predicted)[1] == 1


def test_an_empty_truth_is_refused():
    with pytest.raises(CaseError, match="empty"):
        with_dice(np.zeros((4, 4), bool), 0.5)


def a_case(mask, key="a"):
    return Case(key, "p", np.zeros((1, 32, 32), np.float32), mask, None, {})


def test_the_oracle_segments_each_class_and_leaves_absent_ones_empty():
    mask = np.stack([disc(), disc(radius=5), np.zeros((32, 32), bool)])
    (found,) = Oracle({"a": 0.8})([a_case(mask)])
    assert dc(found[0], mask[0]) == pytest.approx(0.8, abs=1e-3)
    assert dc(found[1], mask[1]) == pytest.approx(0.8, abs=1e-3)
    assert not found[2].any()


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (a_case(None), "needs its mask"),
        (a_case(disc()[None], "b"), "needs its wished Dice"),
        (a_case(np.zeros((1, 32, 32), bool)), "is empty"),
    ],
)
def test_the_oracle_refuses_what_it_cannot_know(case, words):
    assert Oracle({"a": 0.8})([a_case(disc()[None])])
    with pytest.raises(CaseError, match=words):
        Oracle({"a": 0.8})([case])


LEVELLED = PlantedCohort(means={"A": 0.9, "B": 0.85}, changes={"A": -0.03, "B": 0.0}, seed=3)


def scores(planted):
    cases = list(planted.cohort)
    return [
        np.array([dc(mask, case.mask) for mask, case in zip(oracle(cases), cases, strict=True)])
        for oracle in (planted.before, planted.after)
    ]


def test_the_oracles_masks_have_the_realised_means():
    planted = plant(LEVELLED)
    codes = planted.groups.codes(planted.cohort.table)
    for dice, means in zip(
        scores(planted), (planted.realised.before, planted.realised.after), strict=True
    ):
        for code, group in enumerate("AB"):
            assert dice[codes == code].mean() == pytest.approx(means[group], abs=1e-12)
    np.testing.assert_allclose(scores(planted)[0], [*planted.before.dice.values()], atol=2e-3)


def test_expected_differences_and_changes_are_the_declared_ones():
    truth = plant(LEVELLED).expected
    assert truth.difference == pytest.approx({"A": 0.0, "B": 0.05})
    assert truth.change == pytest.approx({"A": -0.03, "B": 0.0})
    assert truth.difference_after == pytest.approx({"A": 0.0, "B": 0.02})


@pytest.mark.parametrize("mean", [0.6, 0.85, 0.95])
@pytest.mark.parametrize("change", [-0.03, 0.0, 0.03])
def test_expectations_are_exact_also_near_one_where_clipping_would_bias_them(mean, change):
    settings = PlantedCohort(
        cases={"A": 8_000, "B": 2},
        means={"A": mean, "B": mean},
        changes={"A": change, "B": change},
        sd=0.1 if mean < 0.9 else 0.08,
        correlation=0.0,
    )
    planted = plant(settings)
    before, after = (
        np.array([*oracle.dice.values()])[:8_000] for oracle in (planted.before, planted.after)
    )
    slack = 4 / np.sqrt(len(before))  # four standard errors
    assert before.mean() == pytest.approx(mean, abs=slack * settings.sd)
    assert before.std() == pytest.approx(settings.sd, rel=0.05)
    moved = after - before
    assert moved.mean() == pytest.approx(change, abs=slack * moved.std())
    assert 0.02 < moved.std() < (0.045 if mean + change < 0.97 else 0.06)
    weight = mean * (1 - mean) / settings.sd**2 - 1
    assert kstest(before, "beta", (mean * weight, (1 - mean) * weight)).pvalue > 1e-3
    # The check can fail: noise that is added and clipped moves the mean of the best cases.
    if mean == 0.95:
        noise = np.random.default_rng(0).normal(0, 0.1, len(before))
        assert abs((np.clip(before + noise, 0, 1) - before).mean()) > slack * 0.1


def test_no_planted_change_with_no_spread_changes_nothing():
    planted = plant(PlantedCohort(change_sd=0.0))
    assert planted.before.dice == planted.after.dice
    assert plant(PlantedCohort()).before.dice != plant(PlantedCohort()).after.dice


@pytest.mark.parametrize(("correlation", "low", "high"), [(0.0, -0.06, 0.06), (0.6, 0.45, 0.75)])
def test_cases_of_a_patient_are_as_alike_as_declared(correlation, low, high):
    planted = plant(PlantedCohort(cases={"A": 2000, "B": 2000}, correlation=correlation))
    table = planted.cohort.table
    dice = np.array([*planted.before.dice.values()])
    clusters = table["cluster"].to_numpy()
    pairs = np.flatnonzero(clusters[1:] == clusters[:-1])
    assert len(pairs) > 1000
    for column in (dice, np.array([*planted.after.dice.values()]) - dice):
        assert low < np.corrcoef(column[pairs], column[pairs + 1])[0, 1] < high


def test_seeds_draw_other_cohorts_and_the_same_seed_the_same():
    assert plant(PlantedCohort(seed=1)).before.dice == plant(PlantedCohort(seed=1)).before.dice
    assert plant(PlantedCohort(seed=1)).before.dice != plant(PlantedCohort(seed=2)).before.dice
    clusters = plant(PlantedCohort()).cohort.table.groupby("group")["cluster"].unique()
    assert not {*clusters["A"]} & {*clusters["B"]}


@pytest.mark.parametrize(
    "options",
    [
        {"means": {"A": 0.8}},
        {"changes": {"A": 0.8, "B": 0.0}},
        {"means": {"A": 0.995, "B": 0.9}},
        {"correlation": 1.5},
        {"sd": 0.0},
        {"change_sd": 0.5},
    ],
)
def test_what_cannot_be_planted_is_refused(options):
    with pytest.raises(ValueError, match=r"got|no Dice has mean"):
        PlantedCohort(**options)
