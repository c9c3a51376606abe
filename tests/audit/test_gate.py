"""A gate passes and fails by what intervals exclude, and says so with the numbers."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from apple_seg.audit import AuditSettings, audit_scores, compare_scores
from apple_seg.audit.gate import GateCode, gate
from apple_seg.audit.inference.figures import Design, disaggregate
from apple_seg.audit.report_json import read_report
from apple_seg.data import Groups
from apple_seg.errors import ConfigError
from apple_seg.files import plain

GROUPS = Groups(by={"sex": ["m", "f"]}, reference="sex = m")
THREE = Groups(by={"site": ["a", "b", "c"]}, reference="site = a")
QUICK = AuditSettings(metrics=("dice",), resamples=0)


def scores_of(dice):
    cases = [f"c{i}" for i in range(len(dice))]
    sizes = {"truth_size": 100, "predicted_size": 100, "unit": "px"}
    return pd.DataFrame({"case": cases, "cluster": cases, "class": "x", **sizes, "dice": dice})


def exactly(mean, sd, n, seed=0):
    """Return n scores of exactly this mean and standard deviation."""
    drawn = np.random.default_rng(seed).standard_normal(n)
    return mean + sd * (drawn - drawn.mean()) / drawn.std(ddof=1)


def audited(difference, n):
    """Return the JSON of an audit of two groups that differ by so much, read back."""
    dice = np.r_[exactly(0.7, 0.05, n, 0), exactly(0.7 - difference, 0.05, n, 1)]
    table = pd.DataFrame({"case": [f"c{i}" for i in range(2 * n)], "sex": ["m"] * n + ["f"] * n})
    return json.loads(audit_scores(scores_of(dice), table, GROUPS, settings=QUICK).to_json())


def compared(changes, n, *, sd=0.02, difference=0.0, groups=GROUPS):
    """Return the JSON of a comparison in which the groups change by so much."""
    (column, values), count = next(iter(groups.by.items())), len(changes)
    means = [0.8, *[0.8 - difference] * (count - 1)]
    host = np.concatenate([exactly(mean, 0.05, n, seed) for seed, mean in enumerate(means)])
    change = [exactly(mean, sd, n, 9 + seed) for seed, mean in enumerate(changes)]
    before = scores_of(host)
    after = before.assign(dice=host + np.concatenate(change))
    table = pd.DataFrame({"case": before["case"], column: np.repeat(values, n)})
    return json.loads(compare_scores(before, after, table, groups, settings=QUICK).to_json())


@pytest.mark.parametrize(
    ("difference", "n", "code"),
    [
        (0.00, 400, GateCode.PASS),
        (0.03, 400, GateCode.PASS),  # 0.03 + 1.96 * 0.05 * sqrt(2 / 400) = 0.037
        (-0.03, 400, GateCode.PASS),
        (0.03, 20, GateCode.UNDECIDED),  # 0.03 + 0.03
        (0.05, 400, GateCode.UNDECIDED),  # on the limit
        (0.07, 20, GateCode.UNDECIDED),
        (0.07, 400, GateCode.FAIL),
        (-0.07, 400, GateCode.FAIL),  # too far the other way is too far
    ],
)
def test_a_difference_is_judged_by_its_interval_and_not_by_its_estimate(difference, n, code):
    report = audited(difference, n)
    found = gate(report, max_difference=0.05)
    assert found.code is code
    # The same estimates of few cases decide nothing.
    few = audited(difference, 4)
    assert few["difference"]["sex = f"]["value"] == pytest.approx(difference)
    assert gate(few, max_difference=0.05).code is GateCode.UNDECIDED
    words = {0: "holds", 1: "violated", 2: "undecided"}[code]
    assert found.lines[0].startswith(f"difference in dice, sex = m minus sex = f: {words}, ")
    assert f"{difference:+.4f} of {2 * n} cases" in found.lines[0] or code is GateCode.FAIL


def test_of_one_that_is_tested_the_interval_is_written_once():
    (one,) = gate(audited(0.05, 400), max_difference=0.05).lines
    assert one.count("interval [") == 1
    assert "allows for" not in one
    assert "does not lie between -0.05 and 0.05, nor does it lie wholly outside: more" in one
    assert "allows for" not in gate(audited(0.07, 400), max_difference=0.05).lines[0]
    # Of several the two are different intervals, and both are written.
    two = gate({**audited(0.05, 400), "others": [audited(0.05, 400)]}, max_difference=0.05)
    assert [line.count("interval [") for line in two.lines] == [2, 2]
    assert all("97.5 % interval" in line and "allows for 2 tested" in line for line in two.lines)


def test_the_limit_lies_where_the_interval_ends():
    report = audited(0.03, 50)
    one = report["difference"]["sex = f"]
    assert gate(report, max_difference=one["high"] + 1e-6).code is GateCode.PASS
    assert gate(report, max_difference=one["high"] - 1e-6).code is GateCode.UNDECIDED
    assert one["low"] > 0
    assert gate(report, max_difference=one["low"] + 1e-6).code is GateCode.UNDECIDED
    # One difference is tested, and so the interval that fails it is the one that is shown.
    assert gate(report, max_difference=one["low"] - 1e-6).code is GateCode.FAIL


def test_failing_allows_for_the_number_of_differences_and_passing_does_not():
    n = 60
    dice = np.concatenate(
        [exactly(mean, 0.05, n, seed) for seed, mean in enumerate((0.8, 0.74, 0.8))]
    )
    table = pd.DataFrame({"case": [f"c{i}" for i in range(3 * n)], "site": np.repeat([*"abc"], n)})
    report = json.loads(audit_scores(scores_of(dice), table, THREE, settings=QUICK).to_json())
    one = report["difference"]["site = b"]
    reach = student.ppf(1 - 0.05 / 2 / 2, one["df"]) * one["se"]
    strict = one["value"] - reach
    assert strict < one["low"] - 1e-4
    assert gate(report, max_difference=strict - 1e-6).code is GateCode.FAIL
    assert gate(report, max_difference=(strict + one["low"]) / 2).code is GateCode.UNDECIDED
    assert gate(report, max_difference=one["high"] + 1e-6).code is GateCode.PASS
    # So does a further attribute, whose own differences are judged too.
    alone = audited(0.06, n)
    limit = alone["difference"]["sex = f"]["low"] - 1e-4
    assert gate(alone, max_difference=limit).code is GateCode.FAIL
    both = gate({**audited(0.0, n), "others": [alone]}, max_difference=limit)
    assert both.code is GateCode.UNDECIDED
    assert len(both.lines) == 2
    assert gate({**audited(0.0, n), "others": [audited(0.2, n)]}, max_difference=limit).code is (
        GateCode.FAIL
    )


def test_a_false_alarm_is_as_rare_as_declared():
    """Three groups, two of them exactly as far from the reference as is allowed, 600 cohorts."""
    rng = np.random.default_rng(0)
    places = np.repeat([0, 1, 2], 40)
    design = Design(places, np.arange(120), THREE.labels, 0, 0.95, 0, 0)
    codes = []
    for _ in range(600):
        dice = rng.normal(np.array([0.8, 0.75, 0.75])[places], 0.05)
        found = plain(disaggregate(dice, design))
        report = {"metric": "dice", "reference": "site = a", **found}
        codes.append(gate(report, max_difference=0.05).code)
    # 2.5 % at most, and three standard errors of so many draws; some, or the gate cannot fail.
    assert 0 < np.mean([code is GateCode.FAIL for code in codes]) < 0.025 + 3 * 0.0064
    assert np.mean([code is GateCode.PASS for code in codes]) < 0.025 + 3 * 0.0064


@pytest.mark.parametrize(
    ("changes", "n", "code"),
    [
        ((0.0, 0.02), 200, GateCode.PASS),
        ((-0.005, 0.02), 200, GateCode.PASS),  # -0.005 - 1.96 * 0.02 / sqrt(200) = -0.0078
        ((-0.005, 0.02), 20, GateCode.UNDECIDED),
        ((-0.01, 0.02), 200, GateCode.UNDECIDED),
        ((-0.02, 0.02), 200, GateCode.FAIL),
        ((-0.02, 0.02), 5, GateCode.UNDECIDED),
    ],
)
def test_no_group_may_have_lost_more_than_is_allowed(changes, n, code):
    found = gate(compared(changes, n), no_group_worse=0.01)
    assert found.code is code
    assert len(found.lines) == 2
    assert found.lines[0].startswith("change in dice of sex = m: ")
    # What it gained is no matter, and the difference between the groups is not asked about.
    assert "sex = f: holds" in found.lines[1] or n < 200


def test_a_comparison_is_judged_by_the_perturbed_hosts_difference():
    healed = compared((0.0, 0.10), 300, difference=0.10)
    assert gate(healed, max_difference=0.03).code is GateCode.PASS
    assert gate({**healed, "perturbed": healed["host"]}, max_difference=0.03).code is GateCode.FAIL


def test_all_conditions_must_hold_and_one_violation_is_enough():
    levelled = compared((-0.10, 0.0), 300, difference=0.10)
    assert gate(levelled, max_difference=0.03).code is GateCode.PASS
    both = gate(levelled, max_difference=0.03, no_group_worse=0.01)
    assert both.code is GateCode.FAIL
    assert "violated" in both.lines[0]
    assert [line for line in both.lines if "holds" in line] == list(both.lines[1:])
    unsure = gate(compared((0.0, 0.0), 8), max_difference=0.5, no_group_worse=1e-4)
    assert unsure.code is GateCode.UNDECIDED


def test_without_an_interval_nothing_is_decided_and_the_reason_is_given():
    dice = np.array([0.9, 0.8, 0.7, 0.1])
    table = pd.DataFrame({"case": [f"c{i}" for i in range(4)], "sex": ["m", "m", "m", "f"]})
    report = json.loads(audit_scores(scores_of(dice), table, GROUPS, settings=QUICK).to_json())
    assert report["difference"]["sex = f"]["value"] == pytest.approx(0.7)
    found = gate(report, max_difference=0.01)
    assert found.code is GateCode.UNDECIDED
    assert "4 cases of 4 clusters give no interval" in found.lines[0]
    # A report in which there is nothing to judge does not pass for that.
    one = {"by_group": {"sex = m": report["by_group"]["sex = m"]}, "difference": {}}
    assert gate({**report, **one}, max_difference=0.01).code is GateCode.UNDECIDED


def test_a_host_that_nothing_changed_has_lost_nothing():
    same = compared((0.0, 0.0), 30, sd=0.0)
    assert gate(same, no_group_worse=0.001).code is GateCode.PASS


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({}, "a gate needs a condition: max_difference or no_group_worse"),
        ({"max_difference": 0.0}, "max_difference is a number above 0, got 0.0"),
        ({"max_difference": float("nan")}, "max_difference is a number above 0"),
        ({"max_difference": 0.1, "no_group_worse": -0.1}, "no_group_worse is a number 0 or more"),
        ({"no_group_worse": 0.1}, "give that of a comparison"),
    ],
)
def test_conditions_that_cannot_be_asked_are_refused(conditions, words):
    with pytest.raises(ConfigError, match=words):
        gate(audited(0.0, 5), **conditions)


def test_a_report_is_read_from_its_file(tmp_path):
    report = compared((0.0, 0.0), 10)
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert read_report(tmp_path / "report.json") == report


ONE_GROUP = '"metric": "dice", "reference": "a", "by_group": {"a": {}}, "difference": {}'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read"),
        ("{", "is no JSON"),
        ("[]", "no report: the JSON of an audit or a comparison is expected"),
        ('{"metric": "dice"}', "no report"),
        ('{"metric": "dice", "reference": "a", "change": {}, "difference": {}}', "no `perturbed`"),
        ('{"metric": "dice", "reference": "a", "difference": {"b": {"value": 0.1}}}', "no `low`"),
        (f'{{{ONE_GROUP}, "others": [3]}}', "'int' object has no attribute 'get'"),
        (f'{{{ONE_GROUP}, "others": 3}}', "`others` is a list of reports, got a value of type int"),
        ('{"metric": 3, "reference": "a", "by_group": {"a": {}}, "difference": {}}', "a text is"),
        ("[" * 100_000, "no report: it is nested too deeply"),
    ],
)
def test_a_file_that_is_no_report_is_refused(tmp_path, content, words):
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=words) as caught:
        read_report(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"low": 10**400}, "no report: .*int too large"),
        ({"low": float("-inf")}, "no report: .*a finite number or null is expected, got -inf"),
        ({"low": True}, "no report: .*a finite number or null is expected, got True"),
        ({"low": 0.02, "high": -0.02}, r"sex = f: the interval \[0.02, -0.02\] does not hold"),
        ({"value": 0.3}, r"does not hold 0.3"),
        ({"value": -0.3}, r"does not hold -0.3"),
        ({"low": 0.2, "high": None}, r"does not hold"),
        ({"se": -0.1}, "se -0.1"),
        ({"df": 0}, "df 0"),
        ({"confidence": 0.0}, "confidence 0"),
        ({"confidence": 1}, "confidence 1"),
        ({"confidence": None}, "confidence nan"),
        ({"n_cases": 2.5}, "a count is expected, got 2.5"),
        ({"n_clusters": -1}, "a count is expected, got -1"),
    ],
)
def test_numbers_that_no_audit_finds_are_refused(tmp_path, changed, words):
    report, path = audited(0.0, 40), tmp_path / "report.json"
    path.write_text(json.dumps(report))
    assert gate(read_report(path), max_difference=0.05).code is GateCode.PASS
    report["difference"]["sex = f"] |= changed
    path.write_text(json.dumps(report))
    with pytest.raises(ConfigError, match=words):
        read_report(path)


def test_a_group_that_was_taken_out_does_not_pass():
    whole = compared((0.0, -0.2), 200)
    assert gate(whole, no_group_worse=0.05).code is GateCode.FAIL
    assert gate(whole, max_difference=0.05).code is GateCode.FAIL
    for block in (whole["change"]["by_group"], whole["perturbed"]["difference"]):
        lost = block.pop("sex = f")
        for condition in ("no_group_worse", "max_difference"):
            with pytest.raises(ConfigError, match="not of the same groups: sex = f"):
                gate(whole, **{condition: 0.05})
        block["sex = f"] = lost
