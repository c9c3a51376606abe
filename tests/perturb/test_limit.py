"""The limit trains the whole host, by the same rule; what comes back is frozen again."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from apple_seg.errors import ConfigError
from apple_seg.host import Pipeline, fingerprint, wrap
from apple_seg.perturb import FitSettings, MethodSpec, fit
from apple_seg.perturb.limit import fine_tune
from apple_seg.perturb.stepping import Stepper
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
    assert len({one.overall for one in result.candidates}) == 5
    cases = [*toy_cohort(split="val", seed=1)]
    dice = [
        2 * (mask & case.mask).sum() / (mask.sum() + case.mask.sum())
        for mask, case in zip(pipeline(cases), cases, strict=True)
    ]
    assert np.mean(dice) == pytest.approx(result.selected.overall, abs=1e-6)


def test_the_same_seed_gives_the_same_limit():
    first, second = (tuned(fine_tune)[0] for _ in range(2))
    assert first.candidates == second.candidates


def test_batches_are_accumulated_as_perturbers_accumulate_them(monkeypatch):
    steps = []
    monkeypatch.setattr(Stepper, "update", lambda _self: steps.append(1))
    tuned(fine_tune, settings=replace(SETTINGS, epochs=2, accumulate=2))  # 3 batches an epoch
    assert len(steps) == 2 * 2


def test_a_term_that_some_batches_lack_is_the_mean_of_those_that_have_it():
    stepper = object.__new__(Stepper)
    stepper.accumulate = 1
    stepper.backward = lambda _feed, batch, share: batch
    stepper.update = lambda: None
    stepper.recipe = SimpleNamespace(objective=SimpleNamespace(end_epoch=dict))
    batches = [{"segmentation": 1.0}, {"segmentation": 3.0, "hsic": 5.0}]
    assert stepper.epoch(None, batches, 2) == {"segmentation": 2.0, "hsic": 5.0}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"target": "host"}, 'target "host"'),
        ({"terms": {"preserve": 0.5}}, "term preserve"),
        ({"weighting": "hard-cases"}, "weighting hard-cases"),
    ],
)
def test_what_goes_by_the_host_as_deployed_is_refused_where_that_is_trained(changes, part):
    with pytest.raises(ConfigError, match=f"{part} of segmentation-only goes by what the host"):
        tuned(fine_tune, method=MethodSpec(name="segmentation-only", **changes))
    without = MethodSpec(name="segmentation-only", terms={"preserve": 0.0})
    assert not without.asks_the_host


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
