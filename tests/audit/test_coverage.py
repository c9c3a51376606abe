"""The simulated coverage that reports print, and the simulation itself."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from apple_seg.audit import compare_scores
from apple_seg.audit.limits import ENOUGH, ENOUGH_CLUSTERS, measured_coverage
from apple_seg.data import Groups
from apple_seg.data.planted import PlantedCohort, draw_normals, draw_scores
from benchmarks.inference.cohorts import KINDS, mean_of
from benchmarks.inference.coverage import PACKAGED, RESULTS, measured
from benchmarks.inference.judging import SETTINGS, judge
from benchmarks.inference.rivals import fairlearn_difference, fairmedfm_gap
from benchmarks.inference.rows import covered, draw, judge_cell

CONTENT = json.loads(RESULTS.read_text(encoding="utf-8"))
ROWS = CONTENT["rows"]


def audited(table):
    """Send a drawn cohort through the whole audit."""
    cases = [f"c{place}" for place in range(len(table))]
    scores = pd.DataFrame(
        {"case": cases, "cluster": table["cluster"], "class": "lesion", "unit": "px"}
    ).assign(truth_size=100, predicted_size=100, dice=table["before"])
    labels = table["group"].drop_duplicates().tolist()
    groups = Groups(by={"group": labels}, reference=f"group = {labels[0]}")
    return compare_scores(
        scores,
        scores.assign(dice=table["after"]),
        table.assign(case=cases),
        groups,
        settings=replace(SETTINGS, permutations=0),
    )


def test_the_lean_path_says_what_the_audit_says():
    cells = [(name, cases) for name in KINDS for cases in (60, 300)]
    said = set()
    for repeat, (name, cases) in enumerate(cells):
        table = draw(name, cases, repeat)
        lean, whole = judge(table), audited(table)
        assert lean.difference_verdict.answer is whole.difference_verdict.answer
        assert lean.change_verdict.answer is whole.change_verdict.answer
        for group, found in lean.host.difference.items():
            same = whole.host.difference[f"group = {group}"]
            assert (found.low, found.high) == pytest.approx((same.low, same.high), nan_ok=True)
        said |= {lean.difference_verdict.answer, lean.change_verdict.answer}
    assert len(cells) >= 20
    assert len(said) >= 5  # one answer for all would agree by itself


@pytest.mark.parametrize("name", list(KINDS))
def test_the_planted_truth_is_what_a_large_cohort_shows(name):
    kind = KINDS[name]
    table = kind.draw(np.random.default_rng(1), dict.fromkeys(kind.before, 20_000))
    means = table.groupby("group")[["before", "after"]].mean()
    for column, planted in (("before", kind.before), ("after", kind.after)):
        assert means[column].to_dict() == pytest.approx(planted, abs=0.006)
    assert table["cluster"].nunique() < len(table) / 1.9


def test_quantiles_have_the_mean_of_what_is_drawn_from_them():
    quantiles = np.array([0.0, 0.5, 1.0]) ** 2
    drawn = np.interp(np.linspace(0, 1, 100_001), [0, 0.5, 1], quantiles)
    assert mean_of(quantiles) == pytest.approx(drawn.mean(), abs=1e-5) == 0.375


def test_scores_are_drawn_as_declared_and_by_seed():
    settings = PlantedCohort(
        cases={"A": 30_000, "B": 3}, means={"A": 0.9, "B": 0.8}, changes={"A": 0.02, "B": 0.0}
    )
    drawn = draw_scores(settings)
    one = drawn[drawn["group"] == "A"]
    assert one[["before", "after"]].mean().tolist() == pytest.approx([0.9, 0.92], abs=0.003)
    assert one["before"].std() == pytest.approx(0.1, abs=0.003)
    pd.testing.assert_frame_equal(drawn, draw_scores(settings))
    assert not drawn.equals(draw_scores(replace(settings, seed=1)))
    assert drawn["cluster"].equals(draw_normals(settings, np.random.default_rng(0))["cluster"])


def test_rivals_answer_about_the_same_numbers():
    table = draw("null", 60, 0)
    host = judge(table).host
    assert fairmedfm_gap(table) == pytest.approx(host.group_max - host.group_min, abs=1e-12)
    interval = fairlearn_difference(table, seed=0)
    assert 0 < interval.low < interval.high
    assert interval.excludes_zero  # of two groups that do not differ
    assert not fairlearn_difference(table.assign(before=0.8), seed=0).excludes_zero


def test_coverage_counts_intervals_that_exist():
    assert covered([[True, False], [], [True, True]]) == 0.75
    assert covered([[], []]) is None


def test_a_cell_is_repeated_to_the_last_digit():
    """And its coverage can be wrong: intervals at 50 % cover about half."""
    assert judge_cell("null", 30, 15) == judge_cell("null", 30, 15)
    assert draw("null", 30, 0)["before"].tolist() != draw("null", 30, 1)["before"].tolist()
    hits = [judge(draw("null", 60, repeat)).host.difference["B"].at(0.5) for repeat in range(120)]
    share = np.mean([one.low <= 0 <= one.high for one in hits])
    assert 0.35 < share < 0.65


def test_the_packaged_coverage_is_that_of_the_committed_simulation():
    packaged = json.loads(PACKAGED.read_text(encoding="utf-8"))
    assert packaged == json.loads(json.dumps(measured(CONTENT)))
    assert packaged["repeats"] == 1500
    others = [{**row, "coverage": 0.5} for row in ROWS[:1]] + ROWS[1:]
    assert measured({"rows": others}) != measured(CONTENT)


def test_every_kind_and_size_was_run():
    run = {(row["cohort"], row["cases"]) for row in ROWS}
    assert run == {(name, cases) for name, kind in KINDS.items() for cases in kind.sizes}
    assert {row["repeats"] for row in ROWS} == {1500}
    assert all(row["repeats_fairlearn"] >= 20 for row in ROWS)


def test_with_enough_cases_and_patients_intervals_cover_what_they_say():
    """And with fewer patients they need not: the sizes are not set lower than they must be."""
    large = [row for row in ROWS if row["smaller_group"] >= ENOUGH]
    enough = [row for row in large if row["smaller_clusters"] >= ENOUGH_CLUSTERS]
    assert len(enough) > 30
    for row in enough:
        for name in ("coverage", "coverage_change", "coverage_gap_change"):
            assert 0.93 <= row[name] <= 0.97, (row["cohort"], row["cases"], name)
    assert min(row["coverage"] for row in large) < 0.93 < max(row["coverage"] for row in large)


def test_few_null_cohorts_are_told_of_anything():
    """The rivals are the sanity half: the same cohorts, told of a difference nearly always."""
    for row in ROWS:
        assert (row["false_improved"] or 0) <= 0.05, (row["cohort"], row["cases"])
        assert (row["false_present"] or 0) <= 0.05, (row["cohort"], row["cases"])
    null = [row for row in ROWS if row["false_present"] is not None]
    # In a group of three, one resample in twenty has nobody of it, and its difference is 0.
    many = [row for row in null if row["smaller_group"] > 3]
    assert min(row["power_fairlearn"] for row in many) > 0.9
    assert max(row["power_fairmedfm"] for row in null) > 0.9


def test_what_is_planted_is_found_with_enough_cases():
    largest = [row for row in ROWS if row["cases"] == 3000]
    planted = [row for row in largest if row["power_change"] is not None]
    assert len(planted) == 5
    assert min(row["power_change"] for row in planted) > 0.99
    assert min(row["power"] for row in planted) > 0.99


def noted(groups, cases):
    """Return the notes on small groups of an audit of `cases` in each group."""
    table = draw_scores(PlantedCohort(cases=dict(cases), **groups))
    return [note for note in audited(table).notes if "least to go by" in note]


def test_below_150_cases_the_measured_coverage_is_printed_and_from_there_on_not():
    one_each = {"cases_per_patient": 1}
    for cases, said in ((1, True), (20, True), (149, True), (150, False)):
        assert bool(noted(one_each, {"A": 200, "B": cases})) is said
    rows = [row for row in ROWS if 15 <= row["smaller_group"] < 30]
    low, high = (100 * extreme(row["coverage"] for row in rows) for extreme in (min, max))
    (note,) = noted(one_each, {"A": 200, "B": 20})
    assert "group = B, has 20 scored cases of 20 clusters" in note
    assert "with 15 to 29 there" in note
    assert f"held the true difference in {low:.0f}-{high:.0f} %" in note
    assert "was not simulated" in noted(one_each, {"A": 200, "B": 1})[0]


def test_few_patients_are_told_of_however_many_their_cases_are():
    table = draw_scores(PlantedCohort(cases={"A": 300, "B": 300}, cases_per_patient=1))
    assert not [note for note in audited(table).notes if "least to go by" in note]
    few = table.assign(cluster=np.where(table["group"] == "B", "", "a"))
    few["cluster"] += (np.arange(600) % 30).astype(str)
    few.loc[few["group"] == "A", "cluster"] += np.arange(300).astype(str)
    (note,) = (note for note in audited(few).notes if "least to go by" in note)
    assert "group = B, has 300 scored cases of 30 clusters" in note
    assert "with 150 or more there, of 24 patients" in note


def test_the_nearest_simulated_size_at_or_below_is_taken():
    assert measured_coverage(2, 2) is None
    assert measured_coverage(100, 0) is None
    sizes = [(3, 3), (5, 5), (6, 6), (29, 29), (30, 30), (149, 149), (149, 3), (500, 30)]
    found = [measured_coverage(*size) for size in sizes]
    assert [one.cases[0] for one in found] == [3, 3, 6, 15, 30, 75, 15, 150]
