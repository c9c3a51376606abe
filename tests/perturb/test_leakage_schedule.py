"""An adversary counts for more while a fresh probe reads the group, and for less after."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from apple_seg.perturb import Adversary
from apple_seg.perturb.objectives.schedule import ridge
from judged import of_latent as outcome
from judged import told


def test_factor_grows_where_the_group_leaks_and_shrinks_where_it_does_not():
    adversary = Adversary([3], [2], ceiling=0.6)
    leaking, clean = outcome(*told(256)), outcome(*told(256, shift=0.0))
    before = adversary(leaking)
    factors = []
    for shown in [leaking] * 7 + [clean] * 13:
        adversary.observe(shown)
        found = adversary.end_epoch()
        assert (found["adversary_probe_auc"] > 0.6) == (shown is leaking)
        factors.append(found["adversary_factor"])
    assert factors[:2] == pytest.approx([1.5, 2.25])
    assert factors[6] == 10.0
    assert factors[7] == pytest.approx(10 / 1.5)
    assert factors[-1] == 0.1
    assert adversary.schedule.kept == []
    fixed = Adversary([3], [2])
    fixed.load_state_dict(
        {k: v for k, v in adversary.state_dict().items() if k != "_extra_state"}
        | {"_extra_state": {}}
    )
    torch.testing.assert_close(adversary(leaking), 0.1 * fixed(leaking))
    assert fixed.end_epoch() == {}
    assert before != adversary(leaking)
    assert adversary.end_epoch() == {"adversary_factor": 0.1}  # nothing seen


def test_factor_heeds_numbers_and_the_attribute_that_leaks_most():
    latent, groups = told(256, shift=0.0)
    numbers = torch.randn(256, 1, generator=torch.Generator().manual_seed(4))
    adversary = Adversary([3], [2], 1, ceiling=0.6)
    adversary.observe(outcome(latent, groups, numbers=numbers))
    assert adversary.end_epoch()["adversary_probe_auc"] < 0.6
    shown = latent + 2 * numbers[:, :, None, None]
    adversary.observe(outcome(shown, groups, numbers=numbers))
    assert adversary.end_epoch()["adversary_probe_auc"] > 0.9


@pytest.mark.parametrize("shape", [(40, 7), (12, 30)])
def test_ridge_is_that_of_another_library(shape):
    draw = np.random.default_rng(0)
    features, others, targets = draw.normal(size=shape), draw.normal(size=(5, shape[1])), None
    targets = draw.normal(size=(shape[0], 2))
    centre, scale = features.mean(0), features.std(0)
    theirs = Ridge(alpha=shape[1]).fit((features - centre) / scale, targets)
    expected = theirs.predict((others - centre) / scale)
    np.testing.assert_allclose(ridge(features, targets, others), expected, rtol=1e-8)
