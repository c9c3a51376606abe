from dataclasses import replace

import numpy as np
import pytest

from apple_seg.audit import DEFINITIONS, Change, Difference, Disaggregated, Estimate, Followed
from apple_seg.audit.verdicts import judge_change, judge_difference

INFINITE = 1e9  # degrees of freedom: quantiles are the normal distribution's


def estimate(value, se, df=INFINITE):
    made = Estimate(
        value=value, low=np.nan, high=np.nan, se=se, df=df, confidence=0.95,
        n_cases=100, n_clusters=50, minimum_detectable=np.nan,
    )  # fmt: skip
    return made.at(0.95)


def figures(by_group, se=0.002, reference="a"):
    estimates = {label: estimate(value, se) for label, value in by_group.items()}
    difference = {
        label: estimate(by_group[reference] - value, se)
        for label, value in by_group.items()
        if label != reference
    }
    return Disaggregated(overall=estimate(0, se), by_group=estimates, difference=difference)


def judged(change_a, change_b, *, se=0.002, gap=0.10):
    """Group b is the host's worst, `gap` below a."""
    fall = change_a - change_b
    followed = Followed(
        better="a", worse="b", host=estimate(gap, se), perturbed=estimate(gap + fall, se),
        change=estimate(fall, se),
    )  # fmt: skip
    changes = figures({"a": change_a, "b": change_b}, se)
    return judge_change(changes, followed, margin=0.01).answer


@pytest.mark.parametrize(
    ("value", "se", "answer"),
    [
        (0.05, 0.01, Difference.PRESENT),
        (-0.05, 0.01, Difference.PRESENT),  # signed: the reference may be the worse one
        (0.02, 0.01, Difference.NOT_SHOWN),  # 2.80 x 0.01 < 0.05: it would have been seen
        (0.02, 0.02, Difference.NOT_ENOUGH),  # 2.80 x 0.02 > 0.05
        (0.05, 0.02, Difference.PRESENT),  # what is shown is shown, with however few cases
        (0.021, 0.01, Difference.NOT_SHOWN),  # beyond 1.96, not beyond 2.24: two answers share
        (np.nan, np.nan, Difference.NOT_ENOUGH),
    ],
)
def test_difference(value, se, answer):
    one = replace(figures({"a": 0, "b": 0}), difference={"b": estimate(value, se)})
    assert judge_difference(one, margin=0.05).answer is answer


def test_difference_allows_for_the_number_of_groups():
    one = figures({"a": 0.0, "b": -0.0245}, se=0.01)
    assert judge_difference(one, margin=0.05).answer is Difference.PRESENT
    many = figures({"a": 0.0, "b": -0.0245, **{f"c{i}": 0.0 for i in range(8)}}, se=0.01)
    assert judge_difference(many, margin=0.05).answer is Difference.NOT_SHOWN


@pytest.mark.parametrize(
    ("change_a", "change_b", "se", "answer"),
    [
        (0.0, 0.0, 0.002, Change.NOT_DETECTED),
        (0.0, 0.02, 0.002, Change.IMPROVED),
        (0.02, 0.02, 0.002, Change.IMPROVED),  # both up: the worst group gained
        (-0.03, 0.0, 0.002, Change.HARMED),  # the better one lost more than the margin
        (-0.03, 0.05, 0.002, Change.HARMED),  # ... however much the worst one gained
        (0.0, -0.03, 0.002, Change.HARMED),
        (-0.009, 0.0, 0.002, Change.LEVELLED_DOWN),  # within the margin, yet the difference fell
        (-0.009, 0.004, 0.002, Change.LEVELLED_DOWN),  # the loss is the larger part
        (-0.008, 0.02, 0.002, Change.NOT_DETECTED),  # a may have lost more than the margin
        (-0.002, 0.02, 0.002, Change.IMPROVED),
        (0.0, 0.004, 0.002, Change.NOT_DETECTED),  # not clear of 0
        (0.0, 0.02, 0.005, Change.NOT_ENOUGH),  # 2.80 x 0.005 > 0.01
        (0.0, 0.0, 0.005, Change.NOT_ENOUGH),
        (-0.2, 0.0, 0.005, Change.HARMED),  # a harm that shows is not hidden by few cases
        (0.0, 0.0, 0.0, Change.NOT_DETECTED),  # the identity
        (np.nan, 0.0, np.nan, Change.NOT_ENOUGH),
    ],
)
def test_change(change_a, change_b, se, answer):
    assert judged(change_a, change_b, se=se) is answer


def test_a_difference_that_turns_over_and_is_no_smaller_is_no_improvement():
    # Neither group's own change is clear of 0, that of the difference is.
    changes = figures({"a": -0.003, "b": 0.0045}, se=0.002)
    fall = estimate(-0.0075, 0.0025)
    for gap, answer in ((0.02, Change.IMPROVED), (0.003, Change.NOT_DETECTED)):
        followed = Followed(
            better="a", worse="b", host=estimate(gap, 0.01), perturbed=estimate(gap - 0.0075, 0.01),
            change=fall,
        )  # fmt: skip
        assert judge_change(changes, followed, margin=0.01).answer is answer


def test_without_two_groups_there_are_not_enough_cases():
    assert judge_change(figures({"a": 0.1}), None, margin=0.01).answer is Change.NOT_ENOUGH


def test_every_answer_is_defined_and_says_its_numbers():
    assert list(DEFINITIONS["difference"]) == list(Difference)
    assert set(DEFINITIONS["change"]) == set(Change)
    sentences = [text for one in DEFINITIONS.values() for text in one.values()]
    assert len(set(sentences)) == len(sentences) == len(Difference) + len(Change)
    found = judge_difference(figures({"a": 0.0, "b": -0.05}), margin=0.05)
    assert found.definition == DEFINITIONS["difference"][Difference.PRESENT]
    assert "b: +0.0500, 97.5 % interval [+0.0455, +0.0545]" in found.reasons[0]


def test_improved_is_said_of_few_null_cohorts_however_the_worst_group_is_found():
    # The worst case: the perturbed host draws all anew, so that what was lowest comes up again.
    rng = np.random.default_rng(0)
    answers = []
    for _ in range(1500):
        host, after = rng.normal(0, 0.002, (2, 3))
        change, worse = after - host, int(host.argmin())
        better = 0 if worse else int(host.argmax())
        se = 0.002 * 2**0.5
        followed = Followed(
            better=str(better), worse=str(worse),
            host=estimate(host[better] - host[worse], se),
            perturbed=estimate(after[better] - after[worse], se),
            change=estimate(change[better] - change[worse], se * 2**0.5),
        )  # fmt: skip
        named = {str(place): value for place, value in enumerate(change)}
        answers.append(judge_change(figures(named, se, "0"), followed, margin=0.01).answer)
    assert 0 < answers.count(Change.IMPROVED) / 1500 <= 0.05
    assert answers.count(Change.NOT_DETECTED) / 1500 >= 0.95
