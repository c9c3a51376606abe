"""Fits without masks, by the host's own or a consensus; without attributes, by the worst cases."""

import dataclasses

import numpy as np
import pytest
import torch

from apple_seg.errors import ConfigError, FitError
from apple_seg.host import Pipeline, PromptSpec, wrap
from apple_seg.perturb import FitSettings, MethodSpec, fit
from apple_seg.perturb.attributes import Attributes
from apple_seg.perturb.targets import aimed
from apple_seg.perturb.task import FitTask
from apple_seg.replay import ReplaySettings
from cohorts import GROUPS, SPEC, toy_cohort
from hosts import ToyHost
from views import VIEWS_OF_PLANE, blotched

SETTINGS = FitSettings(epochs=3, batch_size=8, learning_rate=3e-3)


def run(**changes):
    torch.manual_seed(0)
    host = ToyHost()
    pipeline = Pipeline(
        wrap(host, torch.rand(1, 3, 16, 16), sites=[ToyHost.SITE]), SPEC, ["lesion"]
    )
    given = {
        "train": toy_cohort(48),
        "validation": toy_cohort(16, split="val", seed=1),
        "groups": GROUPS,
        "method": MethodSpec(name="segmentation-only"),
        "settings": SETTINGS,
        "progress": False,
    }
    return fit(pipeline, **{**given, **changes}), pipeline


@pytest.mark.parametrize("store", ["off", "memory"])
def test_without_masks_perturbed_masks_are_held_to_the_hosts_own(store):
    bare = {"train": toy_cohort(48, masked=False)}
    bare["validation"] = toy_cohort(16, split="val", seed=1, masked=False)
    with pytest.raises(FitError, match='set \\[method\\] target = "consensus"'):
        run(**bare)
    given = {"name": "segmentation-only", "target": "host", "perturber": "residual"}
    method = MethodSpec(**given, terms={"hsic": 3.0})
    settings = FitSettings(
        epochs=6, batch_size=16, learning_rate=3e-3, selection="latest", margin=0.6
    )
    result, pipeline = run(
        **bare, method=method, settings=settings, replay=ReplaySettings(store=store)
    )
    assert result.judged_by == "host"
    assert result.candidates[0].overall == 1  # the host agrees with itself
    assert 0.4 <= result.selected.overall < 1
    assert result.losses[-1]["hsic"] < 0.9 * result.losses[0]["hsic"]
    # Without the terms there is nothing to do, and next to nothing is done.
    idle, _ = run(**bare, method=MethodSpec(**given), settings=settings)
    assert idle.selected.overall > result.selected.overall
    assert all(case.mask is None for case in bare["train"])
    assert pipeline.segmentor.enabled


def test_cases_that_have_a_mask_keep_it_beside_a_consensus():
    cohort = toy_cohort(4)
    table = cohort.table.assign(mask=["", *cohort.table["mask"][1:]])
    some = dataclasses.replace(cohort, table=table)
    host = blotched()
    found = aimed(host, some, "consensus", VIEWS_OF_PLANE, progress=False)
    expected = [*host.vote([cohort[0]], VIEWS_OF_PLANE), *(cohort[i].mask for i in (1, 2, 3))]
    assert found.annotated
    for case, mask in zip(found, expected, strict=True):
        np.testing.assert_array_equal(case.mask, mask)
    assert aimed(host, cohort, "consensus", VIEWS_OF_PLANE, progress=False) is cohort


def test_a_consensus_needs_several_views_and_no_prompt_from_the_truth():
    bare = toy_cohort(4, masked=False)
    with pytest.raises(ConfigError, match=r"4 of 4 cases have no mask, and .* name more views"):
        aimed(blotched(), bare, "consensus", ("as-is",), progress=False)
    prompted = blotched(dataclasses.replace(SPEC, prompt=PromptSpec(kind="box")))
    with pytest.raises(
        ConfigError, match=r"4 of 4 cases have no mask, and this host's prompts are drawn"
    ):
        aimed(prompted, bare, "consensus", VIEWS_OF_PLANE, progress=False)


def test_few_cases_with_masks_are_half_of_what_is_drawn_beside_a_consensus():
    settings = dataclasses.replace(SETTINGS, epochs=1, views=VIEWS_OF_PLANE)
    method = MethodSpec(name="segmentation-only", target="consensus")
    whole = toy_cohort(48)
    some = np.where(np.arange(48) < 6, whole.table["mask"], "")
    few = dataclasses.replace(whole, table=whole.table.assign(mask=some))

    def of_few(method, settings):
        nobody = Attributes.of(few.table, (), ())
        given = (None, few, few, nobody, method, settings, ReplaySettings(), None, False)
        draws = [draw for batch in FitTask(*given).sampler.epoch(1) for draw in batch]
        return np.mean([draw.place < 6 for draw in draws])

    assert of_few(method, settings) == 0.5
    assert of_few(method, dataclasses.replace(settings, labelled=0.75)) == 0.75
    assert of_few(method, dataclasses.replace(settings, labelled=0.0)) == 6 / 48
    assert of_few(MethodSpec(name="moments", target="host"), settings) == 6 / 48
    result, _ = run(train=few, settings=settings, method=method)
    assert result.n_fit == 48
    with pytest.raises(ConfigError, match="from 0 to below 1, got 1"):
        dataclasses.replace(settings, labelled=1.0)


@pytest.mark.parametrize("store", ["off", "memory"])
def test_without_masks_the_host_learns_what_its_own_views_agree_on(store):
    bare = {"train": toy_cohort(48, masked=False), "replay": ReplaySettings(store=store)}
    bare["validation"] = toy_cohort(16, split="val", seed=1, masked=False)
    method = MethodSpec(name="segmentation-only", target="consensus", perturber="residual")
    settings = FitSettings(
        epochs=12, batch_size=8, learning_rate=1e-2, views=VIEWS_OF_PLANE, margin=0.5
    )
    result, _ = run(**bare, method=method, settings=settings)
    host, best = result.candidates[0], result.selected
    assert result.settings.selection == "worst-group"
    assert host.overall < 1  # its views do not agree
    assert best.overall > host.overall + 0.03
    assert result.losses[-1]["segmentation"] < result.losses[0]["segmentation"]


def test_records_of_true_masks_are_not_taken_for_those_of_a_consensus(tmp_path):
    settings = dataclasses.replace(SETTINGS, epochs=1, views=VIEWS_OF_PLANE)
    whole = toy_cohort(48)
    cases = {"validation": toy_cohort(16, split="val", seed=1)}
    bare = dataclasses.replace(whole, table=whole.table.assign(mask=""))
    kept = ReplaySettings(store="disk", folder=tmp_path)
    given = {**cases, "settings": settings, "replay": kept}
    method = MethodSpec(name="segmentation-only", target="consensus")
    alone, _ = run(**cases, train=bare, settings=settings, method=method)
    true, _ = run(**given, train=whole)
    found, _ = run(**given, train=bare, method=method)
    assert found.losses[0]["segmentation"] == pytest.approx(
        alone.losses[0]["segmentation"], rel=1e-4
    )
    assert found.losses[0]["segmentation"] != pytest.approx(
        true.losses[0]["segmentation"], rel=1e-2
    )


def test_drawn_masks_stand_for_those_in_files_bit_for_bit():
    cohort = toy_cohort(4, masked=False)
    masks = [np.random.default_rng(i).random((1, 16, 16)) > 0.5 for i in range(4)]
    drawn = cohort.with_masks(masks)
    assert drawn.annotated
    assert not cohort.annotated
    for part in (drawn, drawn.without_images()):
        for case, mask in zip(part, masks, strict=True):
            np.testing.assert_array_equal(case.mask, mask)
            assert case.image.shape[1:] == mask.shape[1:]


def test_without_attributes_the_epoch_is_chosen_by_the_cases_that_fare_worst():
    result, _ = run(groups=None, method=MethodSpec(name="cvar", perturber="residual"))
    assert [one.by_group for one in result.candidates] == [{}] * 4
    tails = [one.tail for one in result.candidates]
    assert result.selected.tail == max(tails)
    assert result.selected.tail < result.selected.overall
    assert result.groups == {}
    with pytest.raises(ConfigError, match="attribute"):
        run(groups=None, method=MethodSpec(name="apple"))


def test_several_attributes_and_numbers_reach_the_objective():
    def cohort(n, **more):
        made = toy_cohort(n, **more)
        table = made.table.assign(
            hand=np.resize(["left", "right", "left"], n), age=np.arange(n).astype(str)
        )
        return type(made)(table, made.source, made.classes)

    other = type(GROUPS)(by={"hand": ["left", "right"]}, reference="hand = left")
    result, _ = run(
        train=cohort(48),
        validation=cohort(16, split="val", seed=1),
        others=[other],
        method=MethodSpec(name="hsic", numbers=("age",), perturber="affine"),
    )
    alone, _ = run(method=MethodSpec(name="hsic", perturber="affine"))
    assert result.losses[0]["hsic"] > alone.losses[0]["hsic"] + 0.05
