import numpy as np
import pytest
from scipy import stats

from apple_seg.audit.inference.intervals import contrast, sum_clusters

CONTRASTS = ([1, -1, 0], [0, 1, -1], [1, 0, 0], [0.5, 0.5, -1])


def estimate(values, groups, clusters, weights, confidence=0.95):
    sums = sum_clusters(
        np.asarray(values, dtype=float),
        groups=np.asarray(groups),
        clusters=np.asarray(clusters),
        n_groups=len(weights),
    )
    return contrast(sums, weights, confidence=confidence)


def dense_cr2(values, groups, clusters, weights):
    """CR2 and Satterthwaite by the matrices of Pustejovsky and Tipton, nothing simplified."""
    n = len(values)
    x = np.zeros((n, len(weights)))
    x[np.arange(n), groups] = 1
    bread = np.linalg.inv(x.T @ x)
    annihilator = np.eye(n) - x @ bread @ x.T
    residuals = annihilator @ values
    variance, columns = 0.0, []
    for cluster in np.unique(clusters):
        rows = np.flatnonzero(clusters == cluster)
        values_, vectors = np.linalg.eigh(annihilator[np.ix_(rows, rows)])
        adjust = vectors @ np.diag(values_**-0.5) @ vectors.T
        influence = adjust @ x[rows] @ bread @ weights
        variance += (influence @ residuals[rows]) ** 2
        columns.append(annihilator[rows].T @ influence)
    form = np.array(columns) @ np.array(columns).T
    df = np.trace(form) ** 2 / np.trace(form @ form)
    return weights @ bread @ x.T @ values, np.sqrt(variance), df


@pytest.mark.parametrize("weights", CONTRASTS)
@pytest.mark.parametrize("seed", range(3))
def test_closed_form_is_the_dense_one_also_where_clusters_span_groups(seed, weights):
    rng = np.random.default_rng(seed)
    groups, clusters = rng.integers(0, 3, 50), rng.integers(0, 12, 50)
    assert len(np.unique(np.c_[clusters, groups], axis=0)) > len(np.unique(clusters))
    values = rng.normal(size=50) + rng.normal(size=12)[clusters]

    found = estimate(values, groups, clusters, weights)

    expected = dense_cr2(values, groups, clusters, np.array(weights, dtype=float))
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
    found = estimate([0.1 + 0.2] * 7 + [0.3] * 5, [0] * 7 + [1] * 5, np.arange(12), [1, -1])
    assert not found.excludes_zero
    assert found.se < 1e-15
    other = estimate([0.31] * 7 + [0.3] * 5, [0] * 7 + [1] * 5, np.arange(12), [1, -1])
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
