import io
import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from apple_seg.audit import AuditSettings, Change, Difference, audit_scores, compare_scores
from apple_seg.data import Groups
from apple_seg.errors import CaseError, ConfigError

GROUPS = Groups(by={"sex": ["m", "f"]}, reference="sex = m")
QUICK = AuditSettings(metrics=("dice",), resamples=50)


def table_of(sexes):
    return pd.DataFrame({"case": [f"c{i}" for i in range(len(sexes))], "sex": sexes})


def scores_of(dice, *, clusters=None, truth=None, predicted=None, classes=None):
    n = len(dice)
    return pd.DataFrame(
        {
            "case": [f"c{i}" for i in range(n)],
            "cluster": clusters or [f"p{i}" for i in range(n)],
            "class": classes or "lesion",
            "truth_size": truth or 100,
            "predicted_size": predicted or 100,
            "unit": "px",
            "dice": dice,
        }
    )


def drawn(means, n=200, seed=0, sd=0.05):
    rng = np.random.default_rng(seed)
    dice = np.concatenate([rng.normal(mean, sd, n) for mean in means])
    return scores_of(np.clip(dice, 0, 0.95)), table_of(["m"] * n + ["f"] * n)


def test_means_difference_and_extremes_are_those_computed_by_hand():
    scores = scores_of([0.9, 0.7, 0.8, 0.6, 0.4, 0.2])
    found = audit_scores(scores, table_of(["m", "m", "f", "f", "f", ""]), GROUPS, settings=QUICK)

    assert found.by_group["sex = m"].value == pytest.approx(0.8)
    assert found.by_group["sex = f"].value == pytest.approx(0.6)
    assert found.difference["sex = f"].value == pytest.approx(0.2)
    assert (found.group_min, found.group_max) == pytest.approx((0.6, 0.8))
    assert found.worst_group == "sex = f"
    # The case of unknown sex is in the overall figure and in no group, and is counted.
    assert found.overall.value == pytest.approx(0.6)
    assert found.counts["unknown"].cases == 1
    assert any("1 cases are of unknown group" in note for note in found.notes)


def test_the_reference_may_be_the_worse_group_and_the_difference_keeps_its_sign():
    scores, table = drawn([0.7, 0.8])
    found = audit_scores(scores, table, GROUPS, settings=QUICK)
    assert found.difference["sex = f"].value < 0
    assert found.difference_verdict.answer is Difference.PRESENT
    same, _ = drawn([0.8, 0.8])
    other = audit_scores(same, table, GROUPS, settings=QUICK)
    assert other.difference_verdict.answer is Difference.NOT_SHOWN


def test_a_change_is_paired_and_so_is_seen_where_two_audits_would_not_show_it():
    host, table = drawn([0.6, 0.55], sd=0.1)
    shift = np.r_[np.zeros(200), np.full(200, 0.02)]
    noise = np.random.default_rng(1).normal(0, 0.01, 400)
    after = host.assign(dice=host["dice"] + shift + noise)

    found = compare_scores(host, after, table, GROUPS, settings=QUICK)

    change = found.change.by_group["sex = f"]
    assert change.value == pytest.approx(0.02 + noise[200:].mean())
    assert change.se < 0.1 * found.host.by_group["sex = f"].se
    assert found.change_verdict.answer is Change.IMPROVED
    assert found.followed.worse == found.worst_group == "sex = f"
    assert found.change.difference["sex = f"].value == pytest.approx(
        found.perturbed.difference["sex = f"].value - found.host.difference["sex = f"].value
    )


def test_the_identity_changes_nothing():
    host, table = drawn([0.8, 0.75])
    found = compare_scores(host, host, table, GROUPS, settings=QUICK)
    assert found.change_verdict.answer is Change.NOT_DETECTED
    assert found.overall.value == found.overall.se == 0


def test_cases_in_another_order_are_paired_by_name():
    host, table = drawn([0.8, 0.75])
    after = host.assign(dice=host["dice"] + 0.01)
    shuffled = after.sample(frac=1, random_state=0)
    expected = compare_scores(host, after, table, GROUPS, settings=QUICK)
    found = compare_scores(host, shuffled, table.iloc[::-1], GROUPS, settings=QUICK)
    assert found.to_json() == expected.to_json()
    assert not shuffled["case"].equals(after["case"])


def test_cases_that_only_one_table_holds_are_an_error_that_names_them():
    host, table = drawn([0.8, 0.75], n=10)
    with pytest.raises(CaseError, match=r"1 only in the host's scores \(\('c19', 'lesion'\)\)"):
        compare_scores(host, host[:-1], table, GROUPS, settings=QUICK)
    with pytest.raises(CaseError, match=r"1 only in the scores \(c0\)"):
        audit_scores(host, table[1:], GROUPS, settings=QUICK)
    with pytest.raises(CaseError, match="scored against other masks"):
        compare_scores(host, host.assign(truth_size=7), table, GROUPS, settings=QUICK)


def test_scores_without_the_metric_of_the_verdict_are_refused():
    host, table = drawn([0.8, 0.75], n=10)
    with pytest.raises(ConfigError, match="no column 'nsd'"):
        audit_scores(host, table, GROUPS, settings=AuditSettings(metric="nsd"))


def test_a_case_is_worth_the_mean_of_its_classes_and_each_class_is_shown():
    one, two = scores_of([0.9, 0.8, 0.7, 0.6]), scores_of([0.5, np.nan, 0.3, 0.2])
    scores = pd.concat([one, two.assign(**{"class": "vessel"})])
    found = audit_scores(scores, table_of(["m", "m", "f", "f"]), GROUPS, settings=QUICK)
    assert found.cases["dice"].tolist() == pytest.approx([0.7, 0.8, 0.5, 0.4])
    assert found.by_class["lesion"].by_group["sex = m"].value == pytest.approx(0.85)
    assert found.by_class["vessel"].by_group["sex = m"].value == pytest.approx(0.5)
    assert found.by_class["vessel"].by_group["sex = m"].n_cases == 1


def test_empties_are_counted_by_group_and_other_policies_stand_beside():
    nan = np.nan
    scores = scores_of(
        [0.8, nan, 0.8, 0.0, 0.8, 0.0],
        truth=[9, 0, 9, 0, 9, 9],
        predicted=[9, 0, 9, 9, 9, 0],
    )
    found = audit_scores(scores, table_of(["m"] * 3 + ["f"] * 3), GROUPS, settings=QUICK)
    assert (found.counts["sex = m"].both_empty, found.counts["sex = f"].both_empty) == (1, 0)
    assert (found.counts["sex = f"].false_positives, found.counts["sex = f"].misses) == (1, 1)
    assert found.counts["sex = m"].scored == 2
    # m: 0.8, nothing, 0.8; f: a false positive, 0.8, a miss.
    difference = {name: one.difference["sex = f"].value for name, one in found.policies.items()}
    assert difference["skip"] == pytest.approx(0.8 - 0.8 / 3)
    assert difference["one"] == pytest.approx(2.6 / 3 - 0.8 / 3)
    assert difference["monai"] == pytest.approx(0.8 - 0.4)


def test_a_false_positive_that_the_perturber_brings_is_not_lost_in_silence():
    truth, nothing = [0, 9, 9, 9], [0, 9, 9, 9]
    host = scores_of([np.nan, 0.8, 0.8, 0.8], truth=truth, predicted=nothing)
    after = scores_of([0.0, 0.8, 0.8, 0.8], truth=truth, predicted=[9] * 4)
    found = compare_scores(host, after, table_of(["m", "m", "f", "f"]), GROUPS, settings=QUICK)
    assert found.change.by_group["sex = m"].value == pytest.approx(-0.5)
    assert any("1 under the perturbed host only" in note for note in found.notes)
    under = found.change_policies["one"].by_group["sex = m"]
    assert under.value == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("sexes", "clusters"),
    [
        (["m"] * 6, None),  # one group only
        (["m", "m", "m", "f", "f", "f"], ["p"] * 6),  # one patient
        (["m", "m", "m", "m", "m", "f"], None),  # one case in a group
        ([""] * 6, None),  # no attribute known
    ],
)
def test_cohorts_that_allow_no_answer_get_that_answer_and_strict_json(sexes, clusters):
    host = scores_of([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], clusters=clusters)
    after = host.assign(dice=host["dice"] - 0.3)
    found = compare_scores(host, after, table_of(sexes), GROUPS, settings=QUICK)
    assert found.difference_verdict.answer is Difference.NOT_ENOUGH
    assert found.change_verdict.answer in (Change.NOT_ENOUGH, Change.HARMED)
    text = found.to_json()
    assert "NaN" not in text
    assert json.loads(text)["host"]["by_group"]["sex = f"]["low"] is None
    found.render(Console(file=io.StringIO(), width=100))


def test_scores_that_no_overlap_can_have_are_refused():
    host, table = drawn([0.8, 0.75], n=10)
    with pytest.raises(CaseError, match=r"c0: dice is 8\d\.\d+, as 20 scores are not between 0"):
        audit_scores(host.assign(dice=100 * host["dice"]), table, GROUPS, settings=QUICK)


def test_scores_that_are_all_nan_are_no_crash():
    host, table = drawn([0.8, 0.8], n=5)
    found = audit_scores(host.assign(dice=np.nan), table, GROUPS, settings=QUICK)
    assert found.worst_group is None
    assert found.difference_verdict.answer is Difference.NOT_ENOUGH
    assert json.loads(found.to_json())["group_min"] is None


def test_small_groups_get_the_simulated_coverage_and_large_ones_do_not():
    for n, said in ((20, True), (200, False)):
        found = audit_scores(*drawn([0.8, 0.8], n=n), GROUPS, settings=QUICK)
        assert any("held the true difference in" in note for note in found.notes) is said


def test_json_has_the_blocks_that_results_are_read_by():
    host, table = drawn([0.8, 0.75])
    after = host.assign(dice=host["dice"] + 0.001)
    found = compare_scores(host, after, table, GROUPS, settings=QUICK, caveats=["lesions"])
    content = json.loads(found.to_json())
    assert {"host", "perturbed", "change", "verdict", "caveats"} <= set(content)
    assert content["verdict"]["difference"] == "present"
    assert content["verdict"]["change"] in [str(one) for one in Change]
    for block in ("host", "perturbed", "change"):
        assert {"overall", "by_group", "difference", "group_min"} <= set(content[block])
    value = content["host"]["difference"]["sex = f"]["value"]
    assert value == found.host.difference["sex = f"].value
    assert content["caveats"] == ["lesions"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"metric": "hd95"}, "verdicts are taken on one of dice, iou, nsd"),
        ({"metric": "auc"}, "no metric 'auc'"),
        ({"policy": "zero"}, "no policy 'zero'"),
        ({"confidence": 1.0}, "confidence goes from"),
        ({"margin": 0.0}, "margins are positive"),
        ({"resamples": -1}, "resamples, permutations and gallery are 0"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        AuditSettings(**wrong)
