"""The permutation test, the between-group variance, and the correction for several attributes."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_ind, ttest_rel

from apple_seg.audit.inference.dispersion import dispersion
from apple_seg.audit.inference.holm import holm
from apple_seg.audit.inference.intervals import sum_clusters
from apple_seg.audit.inference.permutation import permutation_p


def p_of(values, groups, clusters=None, permutations=2000, seed=0):
    clusters = np.arange(len(values)) if clusters is None else clusters
    sums = sum_clusters(values, groups=groups, clusters=clusters, n_groups=2)
    return permutation_p(sums, first=0, second=1, permutations=permutations, seed=seed)


def test_it_agrees_with_scipy_where_every_case_is_a_patient():
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.5):
        one, two = rng.normal(0, 1, 30), rng.normal(shift, 2, 25)
        expected = permutation_test(
            (one, two),
            lambda a, b: abs(ttest_ind(a, b, equal_var=False, axis=-1).statistic),
            vectorized=False,
            n_resamples=999,
            alternative="greater",
            rng=np.random.default_rng(1),
        ).pvalue
        found = p_of(np.r_[one, two], np.repeat([0, 1], [30, 25]))
        # The two standard errors differ by n against n - 1, and both are drawn.
        assert found == pytest.approx(expected, abs=0.03)


def test_its_level_holds_with_patients_of_many_cases_and_unequal_variances_and_a_naive_ones_not():
    rng = np.random.default_rng(1)
    found, naive = [], []
    for seed in range(250):
        groups = (np.arange(50) < 15).astype(int)
        clusters = np.repeat(np.arange(50), rng.integers(1, 7, 50))
        values = rng.normal(size=50)[clusters] + 0.3 * rng.normal(size=len(clusters))
        values *= np.where(groups[clusters], 2, 1)
        found.append(p_of(values, groups[clusters], clusters, 199, seed))
        naive.append(p_of(values, groups[clusters], None, 199, seed))
    assert np.mean(np.array(found) <= 0.05) < 0.09  # 0.05 + 2.9 standard errors
    assert np.mean(np.array(naive) <= 0.05) > 0.2


def test_patients_with_cases_in_both_groups_keep_their_cases_together():
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(40), 2)
    groups = np.tile([0, 1], 40)  # everybody is in both
    shared = 3 * rng.normal(size=40)[clusters]
    values = shared + 0.1 * rng.normal(size=80) + 0.05 * groups
    paired = ttest_rel(values[::2], values[1::2]).pvalue
    assert paired < 0.2
    assert p_of(values, groups, clusters) == pytest.approx(paired, rel=0.2)
    assert p_of(values, groups) > 0.5  # taken as strangers, it is not


@pytest.mark.parametrize(
    ("values", "groups", "expected"),
    [
        ([0.5] * 6, [0, 0, 0, 1, 1, 1], 1.0),  # constant
        ([0.5, 0.6, 0.7, 0.4], [0, 0, 0, 1], np.nan),  # one patient in a group
    ],
)
def test_what_allows_no_test_gets_none(values, groups, expected):
    assert p_of(np.array(values), np.array(groups)) == pytest.approx(expected, nan_ok=True)


def test_groups_that_are_each_constant_differ_as_clearly_as_labels_allow():
    groups = np.repeat([0, 1], 4)
    p = p_of(1.0 - 0.1 * groups, groups)
    assert p == pytest.approx(2 / 70, abs=0.01)  # 2 of the 70 ways to choose four of eight


def test_the_corrected_variance_is_unbiased_and_the_naive_one_is_not():
    rng = np.random.default_rng(3)
    for truth in (0.0, 0.04):
        corrected, naive = [], []
        for _ in range(200):
            means = rng.normal(0, truth**0.5, 8)
            clusters = np.repeat(np.arange(80), 3)
            groups = clusters % 8
            values = means[groups] + 0.5 * rng.normal(size=80)[clusters] + rng.normal(size=240)
            sums = sum_clusters(values, groups=groups, clusters=clusters, n_groups=8)
            found = dispersion(sums)
            corrected.append(found.corrected_variance)
            naive.append(found.naive_sd**2)
        error = np.std(corrected) / 200**0.5
        assert abs(np.mean(corrected) - truth) < 3 * error
        assert np.mean(naive) - truth > 5 * error


def test_the_corrected_variance_by_hand():
    values, groups = np.array([1.0, 3, 2, 6, 7, 11]), np.repeat([0, 1, 2], 2)
    sums = sum_clusters(values, groups=groups, clusters=np.arange(6), n_groups=3)
    found = dispersion(sums)
    means = [2, 4, 9]
    each = [2 / 2, 8 / 2, 8 / 2]  # variance over n
    pairs = sum(each[a] + each[b] for a, b in combinations(range(3), 2))
    assert found.naive_sd == pytest.approx(np.std(means))
    assert found.corrected_variance == pytest.approx(np.var(means, ddof=1) - pairs / 6)
    assert found.corrected_sd == pytest.approx(found.corrected_variance**0.5)
    lone = sum_clusters(values[:2], groups=groups[:2], clusters=np.arange(2), n_groups=3)
    assert np.isnan(dispersion(lone).corrected_variance)


def test_holm_by_hand():
    found = holm({"age": {"old": 0.01, "young": 0.04}, "sex": {"f": 0.03, "x": float("nan")}})
    assert found["age"] == {"old": pytest.approx(0.03), "young": pytest.approx(0.06)}
    assert found["sex"]["f"] == pytest.approx(0.06)
    assert np.isnan(found["sex"]["x"])
