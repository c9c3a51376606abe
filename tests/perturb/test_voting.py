"""Answers by the vote of several views: what they are, when they are kept, and that they travel."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from apple_seg.data import VIEWS, viewed
from apple_seg.errors import ConfigError
from apple_seg.host import OutputSpec, Pipeline, PromptSpec, wrap
from apple_seg.perturb import FitSettings, MethodSpec, fit
from apple_seg.perturb.limit import fine_tune
from apple_seg.ship import attach, read_artifact, save
from cohorts import GROUPS, SPEC, toy_cohort
from hosts import ToyHost
from views import VIEWS_OF_PLANE, blotched

SETTINGS = FitSettings(epochs=4, batch_size=8, learning_rate=1e-2, views=VIEWS_OF_PLANE)


def toy(site=ToyHost.SITE):
    torch.manual_seed(0)
    return Pipeline(wrap(ToyHost(), torch.rand(1, 3, 16, 16), sites=[site]), SPEC, ["lesion"])


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
    # Of two views the surer one wins: spots are surer than what is drawn.
    (two,) = host.vote(cases, ("as-is", "flip-w"))
    one, other = (host.vote(cases, (view,))[0] for view in ("as-is", "flip-w"))
    np.testing.assert_array_equal(one, own)
    np.testing.assert_array_equal(other, VIEWS["flip-w"].undo(own))
    assert (two[0, :3, :4] == two[0, :3, -4:]).all()


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


def test_a_vote_turns_a_box_with_its_image_but_not_one_in_columns():
    spec = replace(SPEC, prompt=PromptSpec(kind="box"))
    seen = []

    class Boxed(ToyHost):
        def forward(self, images, boxes=None):
            seen.append(boxes)
            return super().forward(images)

    torch.manual_seed(0)
    host = Boxed()
    segmentor = wrap(
        host,
        torch.rand(1, 3, 16, 16),
        sites=[ToyHost.SITE],
        segment=lambda host, images, boxes=None: host(images, boxes),
    )
    pipeline = Pipeline(segmentor, spec, ["lesion"])
    case = toy_cohort(1)[0]
    seen.clear()
    pipeline.vote([case], ("as-is", "flip-w"))
    mirrored = pipeline.inputs([viewed(case, "flip-w")]).prompts["boxes"]
    torch.testing.assert_close(seen[1], mirrored)
    assert not torch.equal(seen[0], seen[1])
    columns = replace(SPEC, prompt=PromptSpec(kind="box", columns=("x0", "y0", "x1", "y1")))
    with pytest.raises(ConfigError, match="not the prompts in x0, y0, x1, y1"):
        Pipeline(segmentor, columns, ["lesion"]).vote([case], ("as-is", "flip-w"))


def test_a_fit_keeps_the_vote_that_validation_prefers_and_its_file_takes_it_along(tmp_path):
    pipeline = toy()
    result = run(fit, pipeline)
    vote, cases = result.vote, [*toy_cohort(4, split="test", seed=2)]
    assert vote.kept
    assert vote.views == pipeline.segmentor.views == VIEWS_OF_PLANE
    assert result.answer is vote.candidate
    assert vote.candidate.epoch == result.selected.epoch
    assert vote.candidate.group_min > result.selected.group_min
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
    pipeline = toy()
    result = run(fit, pipeline)
    assert result.selected.group_min > result.vote.candidate.group_min
    assert not result.vote.kept
    assert result.answer is result.selected
    assert pipeline.segmentor.views == ("as-is",)


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
    pipeline = toy()
    assert run(fit, pipeline, **changes).vote is None
    assert pipeline.segmentor.views == ("as-is",)


def test_the_limit_is_put_to_the_vote_by_the_same_rule():
    pipeline = toy()
    result = run(fine_tune, pipeline, method=MethodSpec())
    assert result.vote.kept == (result.vote.candidate.group_min > result.selected.group_min)
    assert (len(pipeline.segmentor.views) > 1) == result.vote.kept
