"""What the first page says: every answer in plain words, with numbers that were made by hand."""

import numpy as np
import pandas as pd
import pytest

from apple_seg.audit import AuditSettings, Change, Difference, audit_scores, compare_scores
from apple_seg.audit.report.answers import (
    change_answer,
    clearest,
    difference_answer,
)
from apple_seg.audit.report.cautions import not_concluded
from apple_seg.audit.report.opening import lead, opening
from apple_seg.data import Groups
from reports import rich_comparison

GROUPS = Groups(by={"sex": ["m", "f"]}, reference="sex = m")
QUICK = AuditSettings(metrics=("dice",), resamples=0, permutations=0)


def cohort(means, *, count, spread):
    """Return scores and table of two groups whose means are exact: half above, half below."""
    dice = np.concatenate([mean + spread * np.tile([1, -1], count // 2) for mean in means])
    names = [f"c{place}" for place in range(len(dice))]
    scores = pd.DataFrame({"case": names, "cluster": names, "class": "lesion", "dice": dice})
    scores = scores.assign(truth_size=100, predicted_size=100, unit="px")
    return scores, pd.DataFrame({"case": names, "sex": ["m"] * count + ["f"] * count})


def compared(shifts, *, count=200, jitter=0.01, means=(0.9, 0.8)):
    host, table = cohort(means, count=count, spread=0.05)
    by_case = np.repeat(shifts, count) + jitter * np.tile([1, 1, -1, -1], count // 2)
    after = host.assign(dice=host["dice"] + by_case)
    return compare_scores(host, after, table, GROUPS, settings=QUICK)


def audited(means, *, count=200, spread=0.05):
    scores, table = cohort(means, count=count, spread=spread)
    return audit_scores(scores, table, GROUPS, settings=QUICK)


@pytest.mark.parametrize(
    ("shifts", "options", "answer", "said"),
    [
        (
            (0.0, 0.03),
            {},
            Change.IMPROVED,
            "It helped. Mean Dice in “sex = f”, the worst-served group, went from 0.800 to 0.830: "
            "a change of +0.0300 (interval ",
        ),
        (
            (0.0, 0.03),
            {},
            Change.IMPROVED,
            "“sex = m” minus “sex = f”, went from +0.1000 to +0.0700: a change of -0.0300",
        ),
        (
            (-0.05, 0.0),
            {},
            Change.HARMED,
            "It harmed. Mean Dice in “sex = m” went from 0.900 to 0.850: a change of -0.0500",
        ),
        (
            (-0.008, 0.0),
            {},
            Change.LEVELLED_DOWN,
            "mostly because the better group lost. The difference, “sex = m” minus “sex = f”, went "
            "from +0.1000 to +0.0920",
        ),
        (
            (0.0, 0.0),
            {},
            Change.NOT_DETECTED,
            "Neither an improvement nor a harm could be shown.",
        ),
        (
            (0.0, 0.0),
            {},
            Change.NOT_DETECTED,
            "In every group the change is smaller than 0.01, the declared margin.",
        ),
        (
            (0.0, 0.0),
            {"count": 20, "jitter": 0.04},
            Change.NOT_ENOUGH,
            "In “sex = m” and “sex = f” a change of 0.01 may have been missed",
        ),
    ],
)
def test_each_answer_about_the_change_is_said_with_its_numbers(shifts, options, answer, said):
    found = compared(shifts, **options)
    assert found.change_verdict.answer is answer
    written = change_answer(found)
    assert said in written.said
    assert written.answer == written.heading == str(answer)
    assert written.definition == found.change_verdict.definition
    assert written.reasons == found.change_verdict.reasons


@pytest.mark.parametrize(
    ("means", "options", "answer", "said"),
    [
        (
            (0.9, 0.8),
            {},
            Difference.PRESENT,
            "Yes. Mean Dice is 0.900 in “sex = m”, the reference, and 0.800 in “sex = f”: a "
            "difference of +0.1000 (interval ",
        ),
        ((0.8, 0.9), {}, Difference.PRESENT, "a difference of -0.1000"),
        (
            (0.85, 0.85),
            {},
            Difference.NOT_SHOWN,
            "None could be shown. Mean Dice is 0.850 in “sex = m”, the reference, and 0.850 in "
            "“sex = f”: a difference of +0.0000",
        ),
        (
            (0.85, 0.85),
            {},
            Difference.NOT_SHOWN,
            "The interval of a true difference of 0.05 would have left out 0 in 4 of 5",
        ),
        (
            (0.7, 0.69),
            {"count": 10, "spread": 0.2},
            Difference.NOT_ENOUGH,
            "A difference of 0.05 may have been missed: the least whose interval would leave "
            "out 0 in 4 of 5 such studies is 0.",
        ),
    ],
)
def test_each_answer_about_the_difference_is_said_with_its_numbers(means, options, answer, said):
    found = audited(means, **options)
    assert found.difference_verdict.answer is answer
    assert said in difference_answer(found).said


def test_an_interval_that_leaves_out_0_and_yet_is_no_proof_is_explained():
    # At 95 % the change of f is clear of 0; at the confidence of several claims it is not.
    found = compared((0.0, 0.0017))
    assert found.by_group["sex = f"].excludes_zero
    assert found.change_verdict.answer is Change.NOT_DETECTED
    assert "leaves out 0 by itself is not enough" in change_answer(found).said
    assert "leaves out 0" not in change_answer(compared((0.0, 0.0))).said
    # A sure gain beside a loss that is not excluded is no improvement, and not for that reason.
    risky = compared((-0.0095, 0.02))
    assert risky.change_verdict.answer is Change.NOT_DETECTED
    assert "That “sex = m” lost 0.01 is not excluded" in change_answer(risky).said
    assert "leaves out 0" not in change_answer(risky).said
    # A sure loss within the margin is no harm by definition, and is said.
    less = change_answer(compared((-0.005, -0.005)))
    assert less.answer == Change.NOT_DETECTED
    assert "What “sex = m” and “sex = f” lost is not shown to be more than 0.01." in less.said
    assert "leaves out 0" not in less.said
    scores = audited((0.85, 0.8392))
    assert scores.difference["sex = f"].excludes_zero
    assert scores.difference_verdict.answer is Difference.NOT_SHOWN
    assert "when the number of comparisons is allowed for" in difference_answer(scores).said


def test_what_may_not_be_concluded_goes_with_the_answer():
    present, not_shown = not_concluded(audited((0.9, 0.8))), not_concluded(audited((0.85, 0.85)))
    assert any(line.startswith("Why the groups differ") for line in present)
    assert any(line.startswith("That the groups are served alike") for line in not_shown)
    assert not any(line.startswith("Why the groups differ") for line in not_shown)
    # 200 of 400 cases fell by the jitter and the shift, more than the margin of 0.01.
    lost = not_concluded(compared((-0.005, -0.005)))
    assert any("200 of 400 single cases lost more than 0.01" in line for line in lost)
    assert any("nobody is served better" in line for line in not_concluded(compared((-0.008, 0.0))))


def test_the_lead_counts_cases_and_clusters_and_explains_each_word():
    host, table = cohort((0.9, 0.8), count=50, spread=0.05)
    alone = audit_scores(host, table, GROUPS, settings=QUICK)
    assert "100 cases." in lead(alone)
    assert "mean over its classes" not in lead(alone)
    assert "a case's mean over its classes (lesion, rim)" in lead(rich_comparison())
    assert "clusters" not in lead(alone)
    paired = host.assign(cluster=[f"p{place // 2}" for place in range(100)])
    found = lead(audit_scores(paired, table, GROUPS, settings=QUICK))
    assert "100 cases of 50 clusters (patients, or what stands for them)" in found
    assert "Dice, the overlap of the predicted with the drawn mask" in found
    assert "95 % interval, which is made so that it holds the true value in 95 of 100" in found


def test_the_figures_that_must_not_be_missed_are_worst_group_difference_and_harm():
    _, _, _, facts, _ = opening(compared((0.0, 0.03))).blocks
    assert [(fact.label, fact.value) for fact in facts.facts] == [
        ("Dice of the worst group, sex = f", "0.800 → 0.830"),
        ("sex = m minus sex = f", "+0.1000 → +0.0700"),
        ("Groups that cannot have lost 0.01", "2 of 2"),
    ]
    _, facts, _ = opening(audited((0.9, 0.8))).blocks
    assert [fact.value for fact in facts.facts][:2] == ["0.800", "+0.1000"]


def test_the_clearest_difference_is_the_one_furthest_from_0_for_its_error():
    few = audited((0.9, 0.8), count=4, spread=0.1).difference["sex = f"]
    many = audited((0.9, 0.85), count=400, spread=0.05).difference["sex = f"]
    assert abs(few.value) > abs(many.value)
    assert clearest([("few", few), ("many", many)]) == ("many", many)
    assert clearest([]) is None
