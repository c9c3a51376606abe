"""A fit trains the perturbers only, keeps the best epoch, and leaves no trace when it fails."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from apple_seg.data import Groups
from apple_seg.errors import CaseError, ConfigError, FitError, GroupError
from apple_seg.host import Pipeline, Site, fingerprint, wrap
from apple_seg.perturb import FitSettings, MethodSpec, fit
from apple_seg.perturb.selection import Candidate, worst_group
from cohorts import GROUPS, SPEC, npy, toy_cohort
from hosts import ToyHost

SETTINGS = FitSettings(epochs=2, batch_size=8, learning_rate=3e-3)


def make_pipeline(host=None, site=ToyHost.SITE):
    host = ToyHost() if host is None else host
    return Pipeline(wrap(host, torch.rand(1, 3, 16, 16), sites=[site]), SPEC, ["lesion"])


def run(pipeline, **changes):
    given = {
        "train": toy_cohort(),
        "validation": toy_cohort(split="val", seed=1),
        "groups": GROUPS,
        "method": MethodSpec(name="apple"),
        "settings": SETTINGS,
        "progress": False,
    }
    return fit(pipeline, **{**given, **changes})


@pytest.mark.parametrize("method", ["apple", "segmentation-only"])
def test_fit_improves_validation_and_leaves_the_host_alone(method):
    host = ToyHost()
    pipeline = make_pipeline(host)
    before = fingerprint(host)
    settings = dataclasses.replace(SETTINGS, epochs=8)
    spec = MethodSpec(name=method, perturber="residual")
    result = run(pipeline, method=spec, settings=settings)
    assert fingerprint(host) == before
    identity, best = result.candidates[0], result.selected
    assert best.group_min > identity.group_min + 0.1
    assert result.losses[-1]["segmentation"] < result.losses[0]["segmentation"]
    assert ("adversary" in result.losses[0]) == (method == "apple")
    assert [one.epoch for one in result.candidates] == list(range(9))
    assert result.groups == {"group = A": 12, "group = B": 12, "unknown": 0}


def test_installed_perturbers_are_those_of_the_selected_epoch():
    pipeline = make_pipeline()
    result = run(pipeline)
    cases = list(toy_cohort(split="val", seed=1))
    dice = [
        2 * (mask & case.mask).sum() / (mask.sum() + case.mask.sum())
        for mask, case in zip(pipeline(cases), cases, strict=True)
    ]
    assert np.mean(dice) == pytest.approx(result.selected.overall, abs=1e-6)


def test_same_seed_gives_the_same_perturber_and_another_seed_another():
    def weights(seed):
        torch.manual_seed(seed + 100)  # the caller's random state plays no part
        pipeline = make_pipeline(_host())
        run(pipeline, settings=dataclasses.replace(SETTINGS, seed=seed))
        return pipeline.segmentor.perturbers[0].state_dict()

    def _host():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return ToyHost()

    first, again, other = weights(1), weights(1), weights(2)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.allclose(first["last.weight"], other["last.weight"])


def test_fit_leaves_the_callers_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    pipeline = make_pipeline_without_draws()
    run(pipeline)
    torch.testing.assert_close(torch.rand(1), expected, rtol=0, atol=0)


def make_pipeline_without_draws():
    with torch.random.fork_rng():
        return make_pipeline()


def bad_nan():
    cohort = toy_cohort()
    image = np.ones((16, 16, 3), np.float32)
    image[3, 3] = np.nan
    files = {name: cohort.source.open(name) for name in cohort.source.names()}
    files["train/5.npy"] = npy(image)
    return dataclasses.replace(cohort, source=type(cohort.source)(files))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train": toy_cohort(4)}, FitError, "4 cases are fewer than a batch of 8; lower"),
        ({"train": toy_cohort(masked=False)}, FitError, "24 of 24 train cases have no mask"),
        ({"train": toy_cohort(groups="A")}, GroupError, "one group only to fit on"),
        (
            {"validation": toy_cohort(split="val", groups="A")},
            GroupError,
            "no validation case of 'group = B'",
        ),
        ({"validation": toy_cohort()}, FitError, "12 patients .* are among the train and the val"),
        ({"train": bad_nan()}, CaseError, r"train/5.npy: 3 values are not finite"),
        (
            {"groups": Groups(by={"sex": ["f", "m"]}, reference="sex = m")},
            GroupError,
            "no column 'sex' to group by; the columns are: case",
        ),
    ],
    ids=[
        "few-cases",
        "no-masks",
        "one-group",
        "no-validation-group",
        "shared-patients",
        "nan",
        "no-column",
    ],
)
def test_bad_input_is_refused_and_leaves_the_identity(changes, error, message):
    pipeline = make_pipeline()
    before = fingerprint(pipeline.segmentor.host)
    with pytest.raises(error, match=message):
        run(pipeline, **changes)
    assert all(isinstance(one, nn.Identity) for one in pipeline.segmentor.perturbers)
    assert fingerprint(pipeline.segmentor.host) == before
    host = pipeline.segmentor.detach()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in host.modules())


class Blind(ToyHost):
    """Its decoder runs without gradients."""

    def forward(self, images):
        latent = self.encoder(images)[-1]
        with torch.no_grad():
            return self.decoder(nn.functional.interpolate(latent, images.shape[-2:]))


class HalfBlind(ToyHost):
    """Its first latent reaches the output detached."""

    def forward(self, images):
        first, latent = self.encoder(images)
        enlarged = nn.functional.interpolate(latent, images.shape[-2:])
        return self.decoder(enlarged) + first.detach().mean(1, keepdim=True)


@pytest.mark.parametrize("method", ["apple", "segmentation-only"])
def test_decoder_without_gradients_is_found_out_at_the_first_step(method):
    with pytest.raises(FitError, match="no gradient reaches the host's output"):
        run(make_pipeline(Blind()), method=MethodSpec(name=method))


@pytest.mark.parametrize("method", ["apple", "segmentation-only"])
def test_one_site_without_gradient_is_found_out_and_named(method):
    sites = [ToyHost.SITE, Site("encoder", item=0)]
    segmentor = wrap(HalfBlind(), torch.rand(1, 3, 16, 16), sites=sites)
    pipeline = Pipeline(segmentor, SPEC, ["lesion"])
    with pytest.raises(FitError, match=r"no gradient reaches the perturber at encoder\[0\]"):
        run(pipeline, method=MethodSpec(name=method))


def test_site_that_fires_twice_an_image_cannot_be_fitted():
    class Twice(ToyHost):
        def forward(self, images):
            return super().forward(images) + super().forward(images.flip(-1))

    with pytest.raises(FitError, match="fires 2 times an image"):
        run(make_pipeline(Twice()))


def test_unknown_names_are_refused_with_what_there_is():
    with pytest.raises(ConfigError, match="no method called 'magic'; known are: consensus, apple"):
        MethodSpec(name="magic")
    with pytest.raises(ConfigError, match="no rule 'best'; known are: worst-group"):
        FitSettings(selection="best")
    with pytest.raises(ConfigError, match="batch of 2"):
        FitSettings(batch_size=1)
    assert str(MethodSpec(sites=(Site("encoder", item=-1),))) == "consensus @ encoder[-1]"


def candidate(epoch, **by_group):
    return Candidate(epoch, sum(by_group.values()) / len(by_group), by_group)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ([candidate(1, A=0.90, B=0.85), candidate(2, A=0.90, B=0.84)], 1),
        ([candidate(1, A=0.80, B=0.85)], 0),  # A loses more than the margin
        ([candidate(1, A=0.895, B=0.81)], 1),  # A loses less than the margin
        ([candidate(1, A=0.90, B=0.79)], 0),  # nothing gained
        ([candidate(1, A=0.90, B=0.80)], 0),  # a tie goes to the identity
        ([candidate(1, A=0.91, B=0.80)], 1),  # a tie goes to the higher overall Dice
    ],
)
def test_worst_group_rule_by_hand(rest, expected):
    identity = candidate(0, A=0.90, B=0.80)
    assert worst_group([identity, *rest], 0.01).epoch == expected


def test_fit_needs_perturbers_that_act_and_gradients():
    pipeline = make_pipeline()
    with pipeline.segmentor.disabled(), pytest.raises(FitError, match="enabled and at strength 1"):
        run(pipeline)
    pipeline.segmentor.strength = 0.5
    with pytest.raises(FitError, match="enabled and at strength 1"):
        run(pipeline)
    pipeline.segmentor.strength = 1.0
    with torch.no_grad(), pytest.raises(FitError, match="called under no_grad"):
        run(pipeline)


@pytest.mark.parametrize(("average", "held"), [(0.99, "86%"), (0.5, None), (0.0, None)])
def test_a_running_mean_that_has_not_left_its_start_is_said(average, held, capsys):
    settings = FitSettings(epochs=5, batch_size=8, average=average)  # 24 cases: 15 steps
    run(make_pipeline(), settings=settings, progress=True)
    said = capsys.readouterr().err
    assert ("of the start, which changes nothing" in said) == (held is not None)
    assert held is None or f"average = 0.99 over 15 steps leaves {held}" in said
    assert held is None or "let the fit have 299 steps" in said
