"""Inputs that break other tools: each ends in a right answer or in a clear error."""

import json

import numpy as np
import pandas as pd
import pytest

from apple_seg.audit import AuditSettings, Change, Difference, audit_scores, compare_scores
from apple_seg.data import Groups
from apple_seg.errors import CaseError

GROUPS = Groups(by={"age": [60]}, reference="age < 60")
SETTINGS = AuditSettings(metrics=("dice",), resamples=200, permutations=200)


def cohort(dice, *, age, clusters=None):
    n = len(dice)
    scores = pd.DataFrame({"case": np.arange(n), "cluster": np.arange(n), "dice": dice})
    scores = scores.assign(**{"class": "l", "unit": "px"}, truth_size=100, predicted_size=100)
    if clusters is not None:
        scores["cluster"] = clusters
    return scores, pd.DataFrame({"case": np.arange(n), "age": age})


def both(scores, table, gain=0.0):
    """Audit, compare, and see that strict JSON, a report and Markdown come of it."""
    audited = audit_scores(scores, table, GROUPS, settings=SETTINGS)
    after = scores.assign(dice=scores["dice"] + gain)
    compared = compare_scores(scores, after, table, GROUPS, settings=SETTINGS)
    for one in (audited, compared):
        json.loads(one.to_json(), parse_constant=pytest.fail)
    return audited, compared


def test_no_case_at_all_is_an_error():
    scores, table = cohort(np.array([0.5]), age=[50])
    with pytest.raises(CaseError, match="no case"):
        audit_scores(scores[:0], table[:0], GROUPS, settings=SETTINGS)


def test_constant_scores_differ_by_nothing_and_change_by_nothing():
    audited, compared = both(*cohort(np.full(60, 0.8), age=np.tile([40, 70], 30)))
    assert audited.difference["age >= 60"].value == 0
    assert audited.difference["age >= 60"].se == pytest.approx(0, abs=1e-12)
    assert audited.p_values["age >= 60"] == 1
    assert audited.difference_verdict.answer is Difference.NOT_SHOWN
    assert audited.dispersion.corrected_variance == pytest.approx(0, abs=1e-12)
    assert compared.change_verdict.answer is Change.NOT_DETECTED


def test_groups_that_are_each_constant_differ():
    age = np.tile([40, 70], 30)
    audited, _ = both(*cohort(np.where(age < 60, 0.9, 0.8), age=age))
    assert audited.difference["age >= 60"].low == pytest.approx(0.1)
    assert audited.difference_verdict.answer is Difference.PRESENT


@pytest.mark.parametrize(
    ("age", "clusters"),
    [
        (np.full(40, 40), None),  # one group
        (np.full(40, np.nan), None),  # nobody's age is known
        (np.tile([40, 70], 20), np.zeros(40)),  # one patient
        (np.r_[np.full(39, 40), 70], None),  # one case in a group
    ],
)
def test_what_holds_no_comparison_is_not_enough_cases(age, clusters):
    dice = 0.7 + 0.2 * np.random.default_rng(0).random(40)
    audited, compared = both(*cohort(dice, age=age, clusters=clusters), gain=0.001)
    assert audited.difference_verdict.answer is Difference.NOT_ENOUGH
    assert compared.change_verdict.answer is Change.NOT_ENOUGH
    assert np.isnan(audited.p_values["age >= 60"])


def test_one_patient_in_both_groups_and_one_elsewhere_crash_nothing():
    dice = 0.7 + 0.2 * np.random.default_rng(0).random(6)
    audited, _ = both(*cohort(dice, age=[40, 70, 40, 70, 40, 40], clusters=[0, 0, 0, 0, 1, 1]))
    assert audited.difference_verdict.answer is Difference.NOT_ENOUGH


def test_scores_that_are_missing_are_left_out_and_infinite_ones_refused():
    dice = 0.7 + 0.2 * np.random.default_rng(0).random(40)
    age = np.tile([40, 70], 20)
    holes = dice.copy()
    holes[::7] = np.nan
    audited, _ = both(*cohort(holes, age=age))
    assert audited.overall.n_cases == 34
    assert audited.overall.value == pytest.approx(np.nanmean(holes))
    assert any("6 of 40 cases have no dice" in note for note in audited.notes)
    holes[0] = np.inf
    with pytest.raises(CaseError, match="0: dice is inf"):
        audit_scores(*cohort(holes, age=age), GROUPS, settings=SETTINGS)


def test_a_hundred_thousand_cases_are_told_what_was_planted():
    rng = np.random.default_rng(0)
    n = 100_000
    age, clusters = rng.integers(20, 90, n), rng.integers(0, 70_000, n)
    dice = np.clip(0.9 - 0.002 * (age >= 60) - rng.gamma(1, 0.05, n), 0, 1)
    scores, table = cohort(dice, age=age, clusters=clusters)
    found = audit_scores(
        scores.assign(truth_size=rng.integers(50, 5000, n)), table, GROUPS, settings=SETTINGS
    )
    assert found.difference["age >= 60"].low < 0.002 < found.difference["age >= 60"].high
    assert found.difference["age >= 60"].se < 0.0005
    assert found.difference_verdict.answer is Difference.PRESENT
    assert found.overall.n_clusters == len(np.unique(clusters))
