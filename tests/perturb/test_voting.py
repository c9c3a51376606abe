"""Answers by the vote of several views: what they are, when they are kept, and that they travel."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from apple_seg.data import viewed
from apple_seg.errors import ConfigError
from apple_seg.host import OutputSpec, Pipeline, PromptSpec, wrap
from apple_seg.perturb import FitSettings, MethodSpec, fit
from apple_seg.perturb.limit import fine_tune
from apple_seg.ship import attach, read_artifact, save
from apple_seg.views import VIEWS
from cohorts import GROUPS, SPEC, toy_cohort
from fits import toy_pipeline
from hosts import ToyHost
from views import VIEWS_OF_PLANE, blotched

SETTINGS = FitSettings(epochs=4, batch_size=8, learning_rate=1e-2, views=VIEWS_OF_PLANE)


def run(what, pipeline, **changes):
    given = {
        "train": toy_cohort(),
        "validation": toy_cohort(split="val", seed=1),
        "groups": GROUPS,
        "method": MethodSpec(perturber="residual"),
        "settings": SETTINGS,
        "progress": False,
    }
    return what(pipeline, **{**given, **changes})


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def squares(number=1):
    """Cases that are bright where their lesion is: a square in the middle."""
    truth = np.zeros((1, 16, 16), bool)
    truth[:, 4:12, 4:12] = True
    image = np.repeat(truth, 3, axis=0).astype(np.float32)
    cases = [replace(case, image=image, mask=truth) for case in toy_cohort(number)]
    return cases, truth


def test_where_views_part_their_mean_is_nearer_to_the_truth_than_each():
    cases, truth = squares()
    host = blotched()
    (own,) = host(cases)
    assert dice(own, truth) < 0.9
    np.testing.assert_array_equal(host.vote(cases, VIEWS_OF_PLANE)[0], truth)
    one, other = (host.vote(cases, (view,))[0] for view in ("as-is", "flip-w"))
    np.testing.assert_array_equal(one, own)
    np.testing.assert_array_equal(other, VIEWS["flip-w"].undo(own))


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_a_vote_is_the_mean_of_probabilities_on_each_cases_own_grid(activation):
    spec = replace(SPEC, output=OutputSpec(activation=activation, channels={"lesion": 1}))
    torch.manual_seed(0)
    host = ToyHost()
    host.decoder = nn.Conv2d(8, 2, kernel_size=1)
    with torch.no_grad():
        host.decoder.bias -= host(torch.rand(1, 3, 16, 16)).mean((0, 2, 3))
    segmentor = wrap(host, torch.rand(1, 3, 16, 16), sites=[ToyHost.SITE])
    pipeline, case = Pipeline(segmentor, spec, ["lesion"]), toy_cohort(1, size=24)[0]
    by_hand = 0
    for view in VIEWS_OF_PLANE:
        grid = functional.interpolate(
            torch.from_numpy(viewed(case, view).image)[None],
            (16, 16),
            mode="bilinear",
            antialias=True,
        )
        logits = functional.interpolate(segmentor.predict(grid), (24, 24), mode="bilinear")[0]
        found = logits.sigmoid() if activation == "sigmoid" else logits.softmax(0)
        by_hand = by_hand + VIEWS[view].undo(found.numpy()) / len(VIEWS_OF_PLANE)
    expected = by_hand[1:] > 0.5 if activation == "sigmoid" else by_hand.argmax(0)[None] == 1
    (found,) = pipeline.vote([case], VIEWS_OF_PLANE)
    assert 0 < found.mean() < 1
    np.testing.assert_array_equal(found, expected)


def test_a_pipeline_answers_by_the_vote_of_its_segmentors_views_and_the_host_in_one():
    cases, truth = squares(3)
    host = blotched()
    single = host(cases)
    host.segmentor.views = VIEWS_OF_PLANE
    for mask in host(cases):
        np.testing.assert_array_equal(mask, truth)
    np.testing.assert_array_equal(host.deployed(cases), single)
    host.segmentor.install([nn.Identity()])
    np.testing.assert_array_equal(host(cases), single)


@pytest.mark.parametrize("columns", [(), ("x0", "y0", "x1", "y1")])
def test_a_host_with_prompts_has_no_vote(columns):
    """Boxes from columns do not turn, and those from the truth would be drawn anew a view."""
    spec = replace(SPEC, prompt=PromptSpec(kind="box", columns=columns))
    pipeline = Pipeline(toy_pipeline().segmentor, spec, ["lesion"])
    with pytest.raises(ConfigError, match="not its box"):
        pipeline.vote([*toy_cohort(1)], ("as-is", "flip-w"))


def test_views_that_images_do_not_have_are_refused_at_once():
    segmentor = toy_pipeline().segmentor
    for wrong in (("as-is", "flip-x"), ("as-is", "flip-d"), ("flip-w",), ()):
        with pytest.raises(ValueError, match="views are 'as-is' alone, or several of"):
            segmentor.views = wrong
    assert segmentor.views == ("as-is",)


def test_at_strength_0_there_is_no_vote():
    host, (cases, _) = blotched(), squares()
    single = host(cases)
    host.segmentor.views = VIEWS_OF_PLANE
    host.segmentor.strength = 0
    np.testing.assert_array_equal(host(cases), single)


def test_without_masks_to_judge_by_there_is_no_vote(capsys):
    pipeline = toy_pipeline()
    bare = toy_cohort(split="val", seed=1, masked=False)
    result = run(fit, pipeline, validation=bare, progress=True)
    assert result.vote is None
    assert result.judged_by == "consensus"
    assert pipeline.segmentor.views == ("as-is",)
    assert "validation has no true masks to judge it by" in capsys.readouterr().err


def test_a_fit_keeps_the_vote_that_validation_prefers_and_its_file_takes_it_along(tmp_path):
    pipeline = toy_pipeline()
    result = run(fit, pipeline)
    vote, cases = result.vote, [*toy_cohort(4, split="test", seed=2)]
    assert result.judged_by == "masks"
    assert vote.kept
    assert vote.views == pipeline.segmentor.views == VIEWS_OF_PLANE
    assert result.answer is vote.candidate
    assert vote.candidate is vote.fitted
    assert vote.candidate.epoch == result.selected.epoch > 0
    assert vote.candidate.group_min > max(result.selected.group_min, vote.untouched.group_min)
    path = tmp_path / "voting.safetensors"
    save(pipeline.segmentor, path, spec=SPEC)
    assert read_artifact(path)[0].views == VIEWS_OF_PLANE
    voted, single = pipeline(cases), pipeline.vote(cases, ("as-is",))
    host = pipeline.segmentor.detach()
    attached = Pipeline(attach(host, path, spec=SPEC), SPEC, ["lesion"])
    np.testing.assert_array_equal(attached(cases), voted)
    assert not np.array_equal(voted, single)


def test_a_vote_that_validation_does_not_prefer_is_left(monkeypatch):
    monkeypatch.setattr(
        Pipeline, "vote", lambda _self, cases, _views: [np.ones_like(case.mask) for case in cases]
    )
    pipeline = toy_pipeline()
    result = run(fit, pipeline)
    assert result.selected.group_min > result.vote.candidate.group_min
    assert not result.vote.kept
    assert result.answer is result.selected
    assert pipeline.segmentor.views == ("as-is",)


@pytest.fixture
def knowing(monkeypatch):
    """The untouched host's vote is the truth, others lack a voxel; says what hosts really see."""
    asked, deployed = Pipeline.vote, toy_pipeline()

    def vote(self, cases, _views):
        answers = [asked(one, cases, ("as-is",)) for one in (self, deployed)]
        masks = [case.mask.copy() for case in cases]
        if not np.array_equal(*answers):
            for mask in masks:
                mask.flat[mask.argmax()] = False
        return masks

    monkeypatch.setattr(Pipeline, "vote", vote)
    cases = [*toy_cohort(4, split="test", seed=2)]
    return lambda pipeline: [asked(one, cases, ("as-is",)) for one in (pipeline, deployed)]


@pytest.mark.parametrize("what", [fit, fine_tune])
def test_what_is_fitted_has_to_be_better_than_the_vote_of_the_untouched_host(what, knowing):
    pipeline = toy_pipeline()
    result = run(what, pipeline)
    best = max(one.group_min for one in result.candidates)
    assert result.candidates[0].group_min < best < result.vote.fitted.group_min
    assert result.vote.fitted.group_min < result.vote.untouched.group_min == 1
    assert result.vote.kept
    assert result.answer is result.vote.untouched
    assert result.selected is result.candidates[0]
    assert pipeline.segmentor.views == VIEWS_OF_PLANE
    np.testing.assert_array_equal(*knowing(pipeline))


def test_what_is_kept_for_other_ends_than_dice_is_not_given_up_for_a_vote(knowing):
    pipeline = toy_pipeline()
    result = run(fit, pipeline, settings=replace(SETTINGS, selection="latest", margin=0.9))
    assert result.vote.fitted.group_min < result.vote.untouched.group_min
    assert result.vote.kept
    assert result.answer is result.vote.fitted
    assert result.selected.epoch == SETTINGS.epochs
    assert not np.array_equal(*knowing(pipeline))


@pytest.mark.parametrize(
    "changes",
    [
        {"method": MethodSpec(name="consensus", perturber="residual", vote=False)},
        {"method": MethodSpec(name="segmentation-only", perturber="residual")},
        {"settings": replace(SETTINGS, views=("as-is",))},
    ],
    ids=["told not to", "another method", "one view"],
)
def test_nothing_is_put_to_the_vote_unasked(changes):
    pipeline = toy_pipeline()
    assert run(fit, pipeline, **changes).vote is None
    assert pipeline.segmentor.views == ("as-is",)


def test_the_limit_is_put_to_the_vote_by_the_same_rule():
    pipeline = toy_pipeline()
    result = run(fine_tune, pipeline, method=MethodSpec())
    assert result.vote.candidate.group_min > result.selected.group_min
    assert result.vote.kept
    assert pipeline.segmentor.views == VIEWS_OF_PLANE
