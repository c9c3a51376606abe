import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, cross_val_score

from apple_seg.measure import classifiers
from apple_seg.measure.auc import auc_change, macro_auc
from apple_seg.measure.probes import CONSTANT, probe


def drawn(rng, *, patients, delta=0.0, shared=0.6):
    """Scores of patients with one to six cases each, which share a part of what is drawn."""
    size = rng.integers(1, 7, patients)
    clusters = np.repeat(np.arange(patients), size)
    codes = (rng.random(patients) < 0.4).astype(int)[clusters]
    own, common = rng.normal(size=len(clusters)), rng.normal(size=patients)[clusters]
    return delta * codes + shared**0.5 * common + (1 - shared) ** 0.5 * own, codes, clusters


def test_aucs_are_those_of_scikit_learn_with_ties_folds_and_several_groups():
    rng = np.random.default_rng(0)
    codes, clusters = rng.integers(0, 2, 300), rng.integers(0, 80, 300)
    scores = np.round(rng.normal(size=300) + codes, 1)  # with ties
    found = macro_auc(scores, codes, clusters)
    assert found.value == pytest.approx(roc_auc_score(codes, scores), abs=1e-12)
    folds = rng.integers(0, 4, 300)
    within = [roc_auc_score(codes[folds == k], scores[folds == k]) for k in range(4)]
    by_fold = macro_auc(scores + 10 * folds, codes, clusters, folds=folds)
    assert by_fold.value == pytest.approx(np.mean(within), abs=1e-12)
    three = rng.integers(0, 3, 300)
    shares = np.exp(rng.normal(size=(300, 3)) + np.eye(3)[three])
    shares /= shares.sum(axis=1, keepdims=True)
    expected = roc_auc_score(three, shares, multi_class="ovr", average="macro")
    assert macro_auc(shares, three, clusters).value == pytest.approx(expected, abs=1e-12)


def obuchowski(scores, codes, clusters):
    """The variance of Obuchowski (1997, equations 3 to 5), written out pair by pair."""
    up, down = scores[codes == 1], scores[codes == 0]
    wins = (up[:, None] > down).astype(float) + 0.5 * (up[:, None] == down)
    auc, names = wins.mean(), np.unique(clusters)
    x = [(wins.mean(1) - auc)[clusters[codes == 1] == name].sum() for name in names]
    y = [(wins.mean(0) - auc)[clusters[codes == 0] == name].sum() for name in names]
    with_up = len(np.unique(clusters[codes == 1]))
    with_down = len(np.unique(clusters[codes == 0]))
    count = len(names)
    s10 = with_up / (with_up - 1) / len(up) * np.sum(np.square(x))
    s01 = with_down / (with_down - 1) / len(down) * np.sum(np.square(y))
    s11 = count / (count - 1) * np.dot(x, y)
    return s10 / len(up) + s01 / len(down) + 2 * s11 / len(up) / len(down)


def test_the_variance_is_obuchowskis_but_for_how_clusters_are_counted():
    rng = np.random.default_rng(1)
    scores, codes, clusters = drawn(rng, patients=300, delta=1)
    codes = np.where(rng.random(len(codes)) < 0.05, 1 - codes, codes)  # groups within patients
    found = macro_auc(scores, codes, clusters)
    count = len(found.shares)
    mine = count / (count - 1) * (found.shares**2).sum()
    assert mine == pytest.approx(obuchowski(scores, codes, clusters), rel=0.02)
    alone = macro_auc(scores, codes, np.arange(len(codes)))
    assert (alone.shares**2).sum() < 0.8 * mine  # the clusters are what it is about


@pytest.mark.parametrize("delta", [0.0, 1.0])
def test_intervals_of_fixed_scores_cover_where_those_that_know_no_patient_do_not(delta):
    rng, truth = np.random.default_rng(2), norm.cdf(delta / np.sqrt(2))
    covered = naive = 0
    for _ in range(400):
        scores, codes, clusters = drawn(rng, patients=80, delta=delta)
        one = macro_auc(scores, codes, clusters)
        other = macro_auc(scores, codes, np.arange(len(codes)))
        covered += one.low <= truth <= one.high
        naive += other.low <= truth <= other.high
    assert 0.92 <= covered / 400 <= 0.98
    assert naive / 400 < 0.85


def test_perfect_separation_still_has_an_interval_and_all_stay_between_0_and_1():
    codes = np.repeat([0, 1], 15)
    best = macro_auc(codes.astype(float), codes, np.arange(30))
    # As Clopper and Pearson have it for 15 of 15: 0.025 ** (1 / 15).
    assert (best.value, best.low, best.high) == pytest.approx((1, 0.78198, 1), abs=1e-5)
    worst = macro_auc(-codes.astype(float), codes, np.arange(30))
    assert (worst.value, worst.low, worst.high) == pytest.approx((0, 0, 0.21802), abs=1e-5)
    nearly = codes + np.where(np.arange(30) == 14, 1.5, 0)
    found = macro_auc(nearly, codes, np.arange(30))
    assert 0.5 < found.low < found.value < found.high <= 1


def test_changes_are_paired_and_of_the_same_cases_only():
    rng = np.random.default_rng(3)
    scores, codes, clusters = drawn(rng, patients=100, delta=1)
    before = macro_auc(scores, codes, clusters)
    after = macro_auc(scores + rng.normal(0, 0.1, len(scores)), codes, clusters)
    change = auc_change(after, before)
    assert change.value == after.value - before.value
    assert change.high - change.low < 0.25 * (before.high - before.low)
    with pytest.raises(ValueError, match="of the same cases only"):
        auc_change(before, macro_auc(scores, codes, clusters + 1))


def test_a_patients_own_signature_reads_as_chance_since_no_patient_is_on_both_sides():
    rng, found, naive = np.random.default_rng(4), [], []
    for seed in range(6):
        clusters = np.repeat(np.arange(40), 6)
        codes = rng.permutation(np.arange(40) % 2)[clusters]
        features = 3 * rng.normal(size=(40, 60))[clusters] + rng.normal(size=(240, 60))
        found.append(probe(features, codes, clusters, seed=seed).auc)
        folds = KFold(5, shuffle=True, random_state=seed)
        model = LogisticRegression(max_iter=2000)
        naive.append(cross_val_score(model, features, codes, cv=folds, scoring="roc_auc").mean())
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)
    assert min(naive) > 0.95


def test_noise_reads_as_chance_and_is_seldom_called_more():
    found = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        codes = rng.permutation(np.arange(60) % 2)
        found.append(probe(rng.normal(size=(60, 5)), codes, np.arange(60), seed=seed))
    assert np.mean([one.auc for one in found]) == pytest.approx(0.5, abs=0.06)
    assert sum(one.low > 0.5 for one in found) <= 2


def test_linear_probes_read_means_and_mlps_read_more():
    rng = np.random.default_rng(5)
    features, clusters = rng.normal(size=(400, 20)), np.arange(400) // 2
    told = (features[:, 0] + 0.5 * rng.normal(size=400) > 0).astype(int)
    curved = (np.abs(features[:, 0]) + 0.3 * rng.normal(size=400) > 0.7).astype(int)
    for kind in ("linear", "mlp"):
        assert probe(features, told, clusters, kind=kind).low > 0.75
    linear, mlp = (probe(features, curved, clusters, kind=kind) for kind in ("linear", "mlp"))
    assert linear.low < 0.5 < linear.high
    assert mlp.low > 0.6


def test_probes_are_deterministic_know_no_scale_and_leave_unknown_groups_out():
    rng = np.random.default_rng(6)
    features, clusters = rng.normal(size=(200, 6)), rng.integers(0, 90, 200)
    codes = (features[:, 0] > 0).astype(int)
    first = probe(features, codes, clusters, kind="mlp")
    assert probe(features, codes, clusters, kind="mlp") == first
    scaled = probe(features * 10.0 ** np.arange(-3, 3) + 7, codes, clusters, kind="mlp")
    assert scaled.auc == pytest.approx(first.auc, abs=1e-6)
    longer = np.r_[codes, [-1] * 30]
    more = np.r_[features, rng.normal(size=(30, 6))]
    found = probe(more, longer, np.r_[clusters, np.arange(30)], kind="mlp")
    assert (found.auc, found.n_cases) == (first.auc, 200)


def test_three_groups_give_the_mean_of_one_against_the_rest_and_a_small_one_is_named():
    rng = np.random.default_rng(7)
    codes, clusters = np.arange(240) % 3, np.arange(240)
    features = np.eye(3)[codes] * 1.5 + rng.normal(size=(240, 3))
    for kind in ("linear", "mlp"):
        assert probe(features, codes, clusters, kind=kind).low > 0.75
    few = np.where((codes == 2) & (clusters > 26), -1, codes)  # nine patients are left of it
    found = probe(features, few, clusters)
    assert found.left_out == (2,)
    assert found.known
    assert found.n_cases == 160


NOISE = np.random.default_rng(8).normal(size=(60, 4))
HALVES = np.arange(60) % 2


@pytest.mark.parametrize(
    ("features", "codes", "clusters", "reason"),
    [
        (NOISE, np.zeros(60, int), np.arange(60), "fewer than two groups"),
        (NOISE, np.full(60, -1), np.arange(60), "fewer than two groups"),
        (NOISE, HALVES, np.zeros(60, int), "fewer than two groups"),
        (NOISE, HALVES, np.arange(60) // 8, "fewer than two groups have 10 clusters"),
        (NOISE[:6], HALVES[:6], np.arange(6), "fewer than two groups"),
        (NOISE[:0], HALVES[:0], np.arange(0), "fewer than two groups"),
        (np.where(NOISE > 1, np.nan, NOISE), HALVES, np.arange(60), "not finite"),
        (np.full((60, 4), 3.7), HALVES, np.arange(60), CONSTANT),
        (1 + 1e-8 * HALVES[:, None], HALVES, np.arange(60), CONSTANT),
    ],
    ids=[
        *("one-group", "unknown", "one-patient", "few-patients", "few", "none", "nan"),
        *("constant", "rounding"),
    ],
)
def test_what_cannot_be_probed_gets_a_reason_and_no_number(features, codes, clusters, reason):
    for kind in ("linear", "mlp"):
        found = probe(features, codes, clusters, kind=kind)
        assert reason in found.reason
        assert np.isnan([found.auc, found.low, found.high]).all()
        assert not found.known
    assert probe(NOISE, HALVES, np.arange(60)).known


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="kinds are linear, mlp"):
        probe(NOISE, HALVES, np.arange(60), kind="forest")
    with pytest.raises(ValueError, match=r"got \(60, 4\), \(59,\)"):
        probe(NOISE, HALVES[1:], np.arange(60))


def test_a_probe_that_is_stopped_early_is_named(monkeypatch):
    assert probe(NOISE, HALVES, np.arange(60)).not_converged == 0
    monkeypatch.setattr(classifiers, "_ITERATIONS", 1)
    assert probe(NOISE, HALVES, np.arange(60)).not_converged == 5
