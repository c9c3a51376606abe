"""The limit trains the whole host, by the same rule; what comes back is frozen again."""

import pytest
import torch
from torch import nn

from apple_seg.errors import ConfigError
from apple_seg.host import Pipeline, fingerprint, wrap
from apple_seg.perturb import FitSettings, MethodSpec, fit
from apple_seg.perturb.limit import fine_tune
from cohorts import GROUPS, SPEC, toy_cohort
from hosts import ToyHost

SETTINGS = FitSettings(epochs=4, batch_size=8, learning_rate=1e-2, average=0.5)


def tuned(run, **changes):
    torch.manual_seed(0)
    host = ToyHost()
    pipeline = Pipeline(
        wrap(host, torch.rand(1, 3, 16, 16), sites=[ToyHost.SITE]), SPEC, ["lesion"]
    )
    given = {
        "train": toy_cohort(),
        "validation": toy_cohort(split="val", seed=1),
        "groups": GROUPS,
        "method": MethodSpec(name="segmentation-only"),
        "settings": SETTINGS,
        "progress": False,
    }
    return run(pipeline, **{**given, **changes}), pipeline


def test_every_weight_of_the_host_is_trained_and_the_best_epochs_are_left():
    torch.manual_seed(0)
    untouched = ToyHost().state_dict()
    result, pipeline = tuned(fine_tune)
    host = pipeline.segmentor.host
    assert result.selected.group_min > result.candidates[0].group_min + 0.05
    assert result.trained_parameters == result.host_parameters
    assert result.losses[-1]["segmentation"] < result.losses[0]["segmentation"]
    for name, value in host.state_dict().items():
        assert not torch.equal(value, untouched[name]), name
    assert not any(value.requires_grad for value in host.parameters())
    assert not host.training
    assert all(isinstance(one, nn.Identity) for one in pipeline.segmentor.perturbers)
    # The kept epoch is the one that is left: validated anew, it scores the same.
    again, _ = tuned(fine_tune, settings=SETTINGS)
    assert again.candidates == result.candidates


def test_a_method_that_is_solved_has_no_limit_of_its_own():
    with pytest.raises(ConfigError, match="leace is solved for perturbers"):
        tuned(fine_tune, method=MethodSpec(name="leace"))


def test_a_fit_of_perturbers_beside_it_leaves_the_host_as_it_was():
    torch.manual_seed(0)
    before = fingerprint(ToyHost())
    _, pipeline = tuned(fit)
    assert fingerprint(pipeline.segmentor.host) == before
    _, pipeline = tuned(fine_tune)
    assert fingerprint(pipeline.segmentor.host) != before
