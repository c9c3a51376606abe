import numpy as np
import pytest
from scipy import stats

from apple_seg.audit.inference.intervals import contrast, sum_clusters
from dense import dense_cr2

CONTRASTS = ([1, -1, 0], [0, 1, -1], [1, 0, 0], [0.5, 0.5, -1])


def estimate(values, groups, clusters, weights, confidence=0.95):
    sums = sum_clusters(
        np.asarray(values, dtype=float),
        groups=np.asarray(groups),
        clusters=np.asarray(clusters),
        n_groups=len(weights),
    )
    return contrast(sums, weights, confidence=confidence)


@pytest.mark.parametrize("weights", CONTRASTS)
@pytest.mark.parametrize("seed", range(3))
def test_closed_form_is_the_dense_one_also_where_clusters_span_groups(seed, weights):
    rng = np.random.default_rng(seed)
    groups, clusters = rng.integers(0, 3, 50), rng.integers(0, 12, 50)
    assert len(np.unique(np.c_[clusters, groups], axis=0)) > len(np.unique(clusters))
    values = rng.normal(size=50) + rng.normal(size=12)[clusters]

    found = estimate(values, groups, clusters, weights)

    expected = dense_cr2(values, np.eye(3)[groups], clusters, weights)
    np.testing.assert_allclose((found.value, found.se, found.df), expected, rtol=1e-9)
    alone = estimate(values, groups, np.arange(50), weights)
    assert alone.df > 1.5 * found.df  # the clusters matter here


def test_where_every_cluster_is_a_case_the_standard_error_is_welchs():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=20), 2 * rng.normal(size=35)
    found = estimate(np.r_[a, b], [0] * 20 + [1] * 35, np.arange(55), [1, -1])

    welch = stats.ttest_ind(a, b, equal_var=False)
    assert found.value / found.se == pytest.approx(welch.statistic, rel=1e-12)
    # The degrees of freedom are Welch's for equal variances.
    terms = np.array([1 / 20, 1 / 35])
    assert found.df == pytest.approx(terms.sum() ** 2 / (terms**2 / [19, 34]).sum(), rel=1e-12)


def test_where_every_cluster_is_a_case_a_mean_has_students_interval():
    values = np.random.default_rng(0).normal(size=12)
    found = estimate(values, [0] * 12, np.arange(12), [1.0], confidence=0.9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert found.df == pytest.approx(11)


def test_the_minimum_detectable_value_is_found_in_four_of_five_cohorts():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(1500, 60))
    detectable = np.mean(
        [estimate(row, [0] * 60, np.arange(60), [1.0]).minimum_detectable for row in noise[:200]]
    )
    found = stats.ttest_1samp(noise + detectable, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.03)


def test_cases_that_are_not_scored_or_in_no_group_are_left_out_and_not_counted():
    values = [1.0, 2.0, np.nan, 4.0, 9.0, 5.0]
    groups = [0, 0, 0, 1, -1, 1]
    clusters = list("abcdef")
    found = estimate(values, groups, clusters, [1, -1])
    kept = estimate([1.0, 2.0, 4.0, 5.0], [0, 0, 1, 1], list("abde"), [1, -1])
    assert found == kept
    assert (found.value, found.n_cases, found.n_clusters) == (-3.0, 4, 4)


@pytest.mark.parametrize(
    ("values", "groups", "clusters"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], list("aabc")),  # all of group 0 are one patient's
        ([1, 2, 3], [0, 1, 1], list("abc")),  # one case
        ([1, 2, 3], [1, 1, 1], list("abc")),  # none
    ],
)
def test_a_group_of_one_cluster_or_none_gives_no_interval_and_no_crash(values, groups, clusters):
    found = estimate(values, groups, clusters, [1, -1])
    assert not found.known
    assert np.isnan([found.low, found.high, found.se, found.minimum_detectable]).all()
    assert not found.excludes_zero
    assert estimate(values, groups, clusters, [0, 1]).known  # the other group has one


def test_equal_scores_differ_by_nothing_and_rounding_shows_no_difference():
    groups, clusters = [0] * 42 + [1] * 30, np.arange(72)
    found = estimate([0.1 + 0.2] * 42 + [0.3] * 30, groups, clusters, [1, -1])
    assert not found.excludes_zero
    assert found.se < 1e-15
    other = estimate([0.31] * 42 + [0.3] * 30, groups, clusters, [1, -1])
    assert other.excludes_zero


def test_intervals_cover_as_often_as_they_say_where_ignoring_patients_does_not():
    rng = np.random.default_rng(1)
    groups, clusters = np.repeat([0, 1], 60), np.repeat(np.arange(40), 3)
    covered, naive = 0, 0
    for _ in range(500):
        # Skewed as Dice is, and shared by a patient's three cases; no true difference.
        values = rng.beta(8, 2, 40)[clusters] + 0.02 * rng.normal(size=120)
        covered += not estimate(values, groups, clusters, [1, -1]).excludes_zero
        naive += not estimate(values, groups, np.arange(120), [1, -1]).excludes_zero
    assert 0.925 <= covered / 500 <= 0.98
    assert naive / 500 < 0.85


@pytest.mark.parametrize(
    "sizes", [[200, 1, 1], [150] + [1] * 50, [100, 100], [50] * 4, [10] * 20, [1] * 30]
)
def test_intervals_cover_also_where_a_few_patients_hold_most_of_a_group(sizes):
    rng = np.random.default_rng(0)
    everybody = np.r_[sizes, np.ones(200, dtype=int)]
    clusters = np.repeat(np.arange(len(everybody)), everybody)
    groups = np.repeat([0, 1], [sum(sizes), 200])
    inside = []
    for _ in range(300):
        shared = rng.normal(size=len(everybody))[clusters]
        found = estimate(shared + rng.normal(size=len(clusters)), groups, clusters, [1, -1])
        inside.append(found.low < 0 < found.high)
    assert np.mean(inside) > 0.95 - 3 * (0.05 * 0.95 / 300) ** 0.5
    # What is taken cannot be had of independent errors alone, where patients are few and large.
    dominated = (np.square(sizes).sum() / sum(sizes)) > sum(sizes) / 4
    naive = estimate(rng.normal(size=len(clusters)), groups, np.arange(len(clusters)), [1, -1])
    assert (found.df < naive.df / 20) or not dominated


def test_all_alike_in_a_few_patients_is_no_certainty():
    few = estimate([0.8, 0.8, 0.9, 0.9], [0, 0, 1, 1], np.arange(4), [1, -1])
    assert few.value == pytest.approx(-0.1)
    assert not few.known
    assert np.isnan(few.minimum_detectable)
    one_sided = estimate([0.8, 0.8, 0.9, 0.7], [0, 0, 1, 1], np.arange(4), [1, -1])
    assert not one_sided.known  # the first group's variance is not 0 either
    many = estimate([0.8] * 40 + [0.9] * 40, [0] * 40 + [1] * 40, np.arange(80), [1, -1])
    assert many.low == pytest.approx(-0.1)
