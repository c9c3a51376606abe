import numpy as np

from apple_seg.audit.inference.bootstrap import resample_means, with_bootstrap
from apple_seg.audit.inference.intervals import contrast, sum_clusters


def sums_of(values, groups, clusters, n_groups=2):
    return sum_clusters(
        np.asarray(values, dtype=float),
        groups=np.asarray(groups),
        clusters=np.asarray(clusters),
        n_groups=n_groups,
    )


def test_resamples_are_those_of_a_loop_over_patients_in_distribution():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], [40, 20])
    clusters = np.r_[np.arange(40) // 2, 100 + np.arange(20) // 4]
    values = rng.normal(size=60) + 2 * rng.normal(size=200)[clusters]

    found = resample_means(sums_of(values, groups, clusters), resamples=4000, seed=1)

    loop = np.empty((4000, 2))
    for group in (0, 1):
        patients = [values[clusters == c] for c in np.unique(clusters[groups == group])]
        for row in range(4000):
            drawn = rng.integers(0, len(patients), len(patients))
            loop[row, group] = np.concatenate([patients[i] for i in drawn]).mean()
    for quantile in (0.025, 0.5, 0.975):
        np.testing.assert_allclose(
            np.quantile(found, quantile, axis=0), np.quantile(loop, quantile, axis=0), atol=0.12
        )
    cases = resample_means(sums_of(values, groups, np.arange(60)), resamples=4000, seed=1)
    assert (cases.std(axis=0) < 0.9 * found.std(axis=0)).all()  # patients matter here


def test_patients_in_two_groups_are_drawn_whole_and_no_group_is_ever_empty():
    # Every patient has a case in both groups, 1 lower in the second: the difference never moves.
    clusters = np.r_[np.arange(6), np.arange(6)]
    values = np.r_[np.arange(6), np.arange(6) - 1]
    sums = sums_of(values, np.repeat([0, 1], 6), clusters)
    means = resample_means(sums, resamples=500, seed=0)
    np.testing.assert_allclose(means[:, 0] - means[:, 1], 1)
    assert means[:, 0].std() > 0.3


def test_a_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(0).normal(size=40)
    sums = sums_of(values, np.repeat([0, 1], 20), np.arange(40))
    found = contrast(sums, [1, -1], confidence=0.95)
    once, again, other = (
        with_bootstrap(found, resample_means(sums, resamples=99, seed=seed), [1, -1])
        for seed in (3, 3, 4)
    )
    assert once == again
    assert once.bootstrap_low != other.bootstrap_low
    assert once.bootstrap_low < found.value < once.bootstrap_high


def test_where_there_is_no_t_interval_there_is_no_bootstrap_interval():
    sums = sums_of([1, 2, 3, 4], [0, 0, 1, 1], list("aabc"))
    means = resample_means(sums, resamples=50, seed=0)
    found = with_bootstrap(contrast(sums, [1, -1], confidence=0.95), means, [1, -1])
    assert np.isnan(found.bootstrap_low)
