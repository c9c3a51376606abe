"""A score against a number, several training runs, and several attributes at once."""

import json

import numpy as np
import pandas as pd
import pytest

from apple_seg.audit import AuditSettings, Change, Difference, audit_scores, compare_scores
from apple_seg.audit.inference.curves import curve
from apple_seg.audit.inference.figures import Design
from apple_seg.audit.inference.intervals import contrast, sum_clusters, with_runs
from apple_seg.data import Groups
from apple_seg.errors import ConfigError

AGE = Groups(by={"age": [60]}, reference="age < 60")
SEX = Groups(by={"sex": ["m", "f"]}, reference="sex = m")
QUICK = AuditSettings(metrics=("dice",), resamples=50, permutations=200)


def design_of(clusters):
    codes = np.zeros(len(clusters), dtype=np.int64)
    return Design(
        codes=codes,
        clusters=clusters,
        labels=("all",),
        reference=0,
        confidence=0.95,
        resamples=0,
        seed=0,
    )


def cohort(n=400, seed=0, harmed=0.0):
    rng = np.random.default_rng(seed)
    age, sex = rng.integers(20, 90, n), rng.choice(["m", "f"], n)
    dice = 0.8 - 0.002 * np.maximum(age - 50, 0) + rng.normal(0, 0.04, n)
    scores = pd.DataFrame({"case": np.arange(n), "cluster": np.arange(n) // 2, "dice": dice})
    scores = scores.assign(**{"class": "l", "unit": "px"}, truth_size=100, predicted_size=100)
    return scores, pd.DataFrame({"case": np.arange(n), "age": age, "sex": sex})


def test_the_band_covers_a_curved_truth_where_a_straight_line_would_not():
    rng = np.random.default_rng(0)
    inside, straight = [], []
    for _ in range(60):
        clusters = np.repeat(np.arange(150), 2)
        x = rng.uniform(20, 90, 150)[clusters]
        shared = 0.03 * rng.normal(size=150)[clusters]
        y = 0.9 - 0.0001 * np.maximum(x - 50, 0) ** 1.7 + shared + 0.02 * rng.normal(size=300)
        found = curve(y, "age", x, design_of(clusters))
        grid = np.array(found.x)
        truth = 0.9 - 0.0001 * np.maximum(grid - 50, 0) ** 1.7
        inside.append((np.array(found.low) < truth) & (truth < np.array(found.high)))
        line = np.polyval(np.polyfit(x, y, 1), grid)
        straight.append(np.abs(line - truth).max())
    assert 0.90 < np.mean(inside) < 0.99
    assert np.mean(straight) > 0.015
    assert found.fall.value == pytest.approx(
        np.interp(found.ends[0], grid, found.value) - np.interp(found.ends[1], grid, found.value),
        abs=0.002,
    )


def test_a_curve_needs_patients_and_different_numbers():
    few = np.arange(5)
    assert curve(few / 9, "age", few * 10.0, design_of(few)) is None
    many = np.arange(60)
    assert curve(many / 99, "age", np.full(60, 40.0), design_of(many)) is None
    assert curve(many / 99, "age", np.full(60, np.nan), design_of(many)) is None
    two = curve(many / 99, "age", 40.0 + many % 3, design_of(many))
    assert np.isfinite(two.value).all()


def test_numbers_that_groups_cut_are_drawn_and_words_are_refused():
    scores, table = cohort()
    found = audit_scores(scores, table, AGE, settings=QUICK)
    assert list(found.curves) == ["age"]
    assert found.curves["age"].fall.excludes_zero
    assert audit_scores(scores, table, SEX, settings=QUICK).curves == {}
    declared = AuditSettings(metrics=("dice",), resamples=0, permutations=0, curves=("sex",))
    with pytest.raises(ConfigError, match="sex is to be drawn against, but holds words"):
        audit_scores(scores, table, SEX, settings=declared)


def test_training_runs_widen_the_interval_by_what_they_differ():
    scores, table = cohort()
    rng = np.random.default_rng(1)
    change = rng.normal(0.0, 0.01, (3, 400))
    same = [scores.assign(dice=scores["dice"] + one) for one in change]
    shifts = (-0.02, 0.0, 0.03)
    other = [run.assign(dice=run["dice"] + shift) for run, shift in zip(same, shifts, strict=True)]
    alike = compare_scores(scores, same, table, AGE, settings=QUICK)
    apart = compare_scores(scores, other, table, AGE, settings=QUICK)
    assert alike.runs == apart.runs == 3
    value = apart.overall.value
    assert value == pytest.approx(alike.overall.value + np.mean(shifts))
    assert value == pytest.approx(change.mean() + np.mean(shifts))
    assert apart.overall.se > 10 * alike.overall.se
    own, between = np.var(change.mean(axis=0)) / 400, np.var(shifts, ddof=1) / 3
    assert apart.overall.se == pytest.approx((own + between) ** 0.5, rel=0.05)
    assert 2 <= apart.overall.df < 2.2  # the three runs decide
    assert any("mean of 3 training runs" in note for note in apart.notes)
    assert apart.perturbed.overall.value == pytest.approx(apart.host.overall.value + value)


def test_runs_are_averaged_under_each_policy_and_so_is_the_difference_with_them():
    scores, table = cohort(n=80)
    scores.loc[:39, ["truth_size", "predicted_size"]] = 0
    scores.loc[:39, "dice"] = np.nan
    left, added = scores, scores.copy()
    added.loc[:39, ["predicted_size", "dice"]] = 9, 0.0  # false positives in one of two runs
    one = AuditSettings(metrics=("dice",), resamples=0, permutations=0, policy="one")
    found = compare_scores(scores, [left, added], table, AGE, settings=one)
    assert found.perturbed.overall.value == pytest.approx(
        found.host.overall.value + found.overall.value
    )
    assert found.overall.value == pytest.approx(-0.25)
    assert found.perturbed.overall.se > 0.2  # the two runs differ by half
    assert found.perturbed.overall.df < 1.5
    assert "numbers of other tools" in found.to_markdown()


def test_one_run_in_a_list_is_that_run():
    scores, table = cohort()
    after = scores.assign(dice=scores["dice"] + 0.01)
    one = compare_scores(scores, [after], table, AGE, settings=QUICK)
    assert one.to_json() == compare_scores(scores, after, table, AGE, settings=QUICK).to_json()


def test_runs_that_all_agree_add_nothing():
    values = np.random.default_rng(0).normal(size=50)
    sums = sum_clusters(values, groups=np.zeros(50), clusters=np.arange(50), n_groups=1)
    mean = contrast(sums, [1.0], confidence=0.95)
    found = with_runs(mean, [mean.value] * 3)
    assert (found.se, found.low) == pytest.approx((mean.se, mean.low))


def test_several_attributes_stand_in_one_audit_and_verdicts_allow_for_their_number():
    scores, table = cohort()
    alone = audit_scores(scores, table, AGE, settings=QUICK)
    found = audit_scores(scores, table, AGE, others=[SEX], settings=QUICK)
    assert [one.attribute for one in found.others] == ["sex"]
    assert found.difference_verdict.answer is Difference.PRESENT
    assert found.others[0].difference_verdict.answer is Difference.NOT_SHOWN
    # 95 %, halved for two answers, and halved again for two attributes.
    assert "97.5 % interval" in alone.difference_verdict.reasons[0]
    assert "98.75 % interval" in found.difference_verdict.reasons[0]
    content = json.loads(found.to_json())
    assert content["others"][0]["attribute"] == "sex"
    p_sex = content["others"][0]["p_values"]["sex = f"]
    assert content["p_values_holm"]["sex"]["sex = f"] == pytest.approx(p_sex)
    p_age = content["p_values"]["age >= 60"]
    assert content["p_values_holm"]["age"]["age >= 60"] == pytest.approx(2 * p_age)


def test_a_harm_to_groups_of_another_attribute_is_said():
    scores, table = cohort()
    women = (table["sex"] == "f").to_numpy()
    noise = np.random.default_rng(2).normal(0, 0.005, 400)
    after = scores.assign(dice=scores["dice"] + noise + np.where(women, -0.03, 0.03))
    found = compare_scores(scores, after, table, AGE, others=[SEX], settings=QUICK)
    alone = compare_scores(scores, after, table, AGE, settings=QUICK)
    assert alone.change_verdict.answer is not Change.HARMED
    assert found.others[0].change_verdict.answer is Change.HARMED
    assert found.change_verdict.answer is Change.HARMED
    assert "by sex: change of sex = f" in found.change_verdict.reasons[0]
    assert found.change_verdict.reasons[-1] == f"by age alone: {alone.change_verdict.answer}"
    first_screen = found.to_markdown().split("## To be kept in mind")[0]
    assert "It harmed. Mean Dice in “sex = f”" in first_screen
    assert found.others[0].non_inferior == {"sex = m": True, "sex = f": False}
    assert json.loads(found.to_json())["others"][0]["verdict"]["change"] == "harmed"
