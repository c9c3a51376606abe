"""The regression's intervals against the definition, written out with whole matrices."""

import numpy as np
import pytest

from apple_seg.audit.inference.intervals import contrast, sum_clusters
from apple_seg.audit.inference.regression import regress
from dense import dense_cr2


def drawn(n=150, seed=0):
    rng = np.random.default_rng(seed)
    clusters = rng.integers(0, n // 3, n)
    z = rng.normal(size=(n, 2)) + clusters[:, None] / n
    x = np.column_stack([np.ones(n), z, z[:, 0] ** 2])
    values = z[:, 0] + rng.normal(size=n // 3)[clusters] + rng.normal(size=n)
    return values, x, clusters


@pytest.mark.parametrize("c", [[0, 1, 0, 0], [0, 0.5, -2, 1], [1, 0, 0, 0]])
def test_errors_and_degrees_of_freedom_are_those_of_the_definition(c):
    values, x, clusters = drawn()
    found = regress(values, x, clusters).contrast(np.array(c), confidence=0.9)
    value, se, df = dense_cr2(values, x, clusters, c)
    assert (found.value, found.se, found.df) == pytest.approx((value, se, df), rel=1e-9)
    # The check can tell: cases taken as independent give another error.
    alone = regress(values, x, np.arange(len(values))).contrast(np.array(c), confidence=0.9)
    assert abs(alone.se / se - 1) > 0.02


def test_with_groups_alone_it_says_what_the_closed_form_says():
    rng = np.random.default_rng(1)
    groups, clusters = rng.integers(0, 3, 200), rng.integers(0, 60, 200)
    values = rng.normal(size=200) + groups
    sums = sum_clusters(values, groups=groups, clusters=clusters, n_groups=3)
    expected = contrast(sums, [1, 0, -1], confidence=0.95)
    found = regress(values, np.eye(3)[groups], clusters).contrast([1, 0, -1], confidence=0.95)
    for name in ("value", "low", "high", "se", "df"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9)


def test_what_the_design_does_not_determine_is_no_number():
    values, _, clusters = drawn()
    group = (np.arange(150) % 2).astype(float)
    x = np.column_stack([group, 1 - group, group])  # the third column is the first again
    model = regress(values, x, clusters)
    assert np.isnan(model.contrast([1, -1, 0], confidence=0.95).value)
    both = model.contrast([1, -1, 1], confidence=0.95)  # their sum is determined
    plain = regress(values, x[:, :2], clusters).contrast([1, -1], confidence=0.95)
    assert both.value == pytest.approx(plain.value)
    assert both.se == pytest.approx(plain.se)


def test_a_contrast_that_one_patient_alone_decides_has_no_interval():
    values, x, clusters = drawn()
    alone = np.column_stack([x, clusters == 5])
    model = regress(values, alone, clusters)
    own = model.contrast([0, 0, 0, 0, 1], confidence=0.95)
    assert np.isfinite(own.value)
    assert not own.known
    assert model.contrast([0, 1, 0, 0, 0], confidence=0.95).known


def test_columns_of_very_different_size_do_no_harm():
    values, x, clusters = drawn()
    expected = regress(values, x, clusters).contrast([0, 1, 0, 0], confidence=0.95)
    scale = np.array([1, 1e-6, 1e8, 1e3])
    found = regress(values, x * scale, clusters).contrast([0, 1e-6, 0, 0], confidence=0.95)
    assert found.value == pytest.approx(expected.value, rel=1e-6)
    assert found.se == pytest.approx(expected.se, rel=1e-6)
