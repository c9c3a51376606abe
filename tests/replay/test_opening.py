"""A fit from records is the fit from images, wherever that is right and pays."""

import dataclasses

import pytest
import torch

import fits
from apple_seg.errors import ConfigError, ReplayError
from apple_seg.host import HostSpec, InputSpec, Pipeline, PromptSpec, Site, wrap
from apple_seg.perturb import FitSettings, MethodSpec, fit
from apple_seg.replay import ReplaySettings
from cohorts import GROUPS, SPEC, toy_cohort
from deep_fits import SHORT, deep_pipeline, run
from fits import SETTINGS, fit_toy
from hosts import CASES, SIZE, ToyHost


def test_fit_from_records_is_the_fit_from_images(tmp_path):
    images, _ = fit_toy(None, store="off")
    records, _ = fit_toy(tmp_path)
    other, _ = fit_toy(None, store="memory", settings=dataclasses.replace(SETTINGS, seed=1))
    assert not images.replay.used
    assert records.replay.used
    for one, expected in zip(records.losses, images.losses, strict=True):
        assert one == pytest.approx(expected, rel=1e-3)
    assert other.losses[-1] != pytest.approx(images.losses[-1], rel=1e-3)
    for one, expected in zip(records.candidates, images.candidates, strict=True):
        assert one.by_group == pytest.approx(expected.by_group, abs=1e-3)


PICKED = [case for case in CASES if case.name in {"monai-unet", "smp-unet-tu", "sam-vit-point"}]


@pytest.mark.parametrize("case", PICKED, ids=str)
def test_views_and_prompts_are_the_same_from_records_as_from_images(case):
    kind = "point" if "points" in case.prompts else "none"
    spec = HostSpec(
        factory="hosts:unused", input=InputSpec(size=(SIZE, SIZE)), prompt=PromptSpec(kind=kind)
    )
    settings = FitSettings(
        epochs=2,
        batch_size=4,
        views=("as-is", "flip-w", "turn-90"),
        prompts=2 if kind == "point" else 1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        host = case.build()

    def weights(store, **changes):
        one = {name: value[:1] for name, value in case.prompts.items()}
        segmentor = wrap(host, case.images[:1], sites="bottleneck", prompts=one)
        result = fit(
            Pipeline(segmentor, spec, ["lesion"]),
            train=toy_cohort(8, size=SIZE),
            validation=toy_cohort(4, split="val", seed=1, size=SIZE),
            groups=GROUPS,
            settings=dataclasses.replace(settings, **changes),
            replay=ReplaySettings(store=store),
            progress=False,
        )
        made = [one.state_dict() for one in segmentor.perturbers]
        segmentor.detach()
        return result.losses[-1]["segmentation"], made

    expected, _ = weights("off")
    found, _ = weights("memory")
    otherwise, _ = weights("memory", views=("as-is",), prompts=1)
    assert found == pytest.approx(expected, rel=1e-5)
    assert otherwise != pytest.approx(expected, rel=1e-5)


def test_auto_replays_where_it_pays_and_says_why_not_where_not(tmp_path):
    small, _ = fit_toy(None, store="auto")
    assert not small.replay.used
    assert "would not pay: it saves" in small.replay.why
    pipeline = deep_pipeline()
    result = run(pipeline, "auto", None)
    assert result.replay.used
    once = run(deep_pipeline(), "auto", None, settings=dataclasses.replace(SHORT, epochs=1))
    assert "one epoch takes no longer than recording" in once.replay.why
    on_disk = run(deep_pipeline(), "auto", tmp_path)
    assert on_disk.replay.store_bytes == result.replay.store_bytes
    assert (tmp_path / "replay" / "train" / "header.json").is_file()


def test_half_precision_takes_half_the_space_and_says_what_it_costs(tmp_path):
    full = run(deep_pipeline(), "memory", None)
    half = run(
        deep_pipeline(), "memory", None, replay=ReplaySettings(store="memory", precision="half")
    )
    assert full.replay.deviation.outputs < 1e-6
    assert 1e-5 < half.replay.deviation.outputs < 1e-2
    latents = 8 * 4 * 4 * (4 - 2)
    assert full.replay.store_bytes - half.replay.store_bytes == (24 + 8) * latents


def test_latent_too_large_for_half_precision_is_refused_or_not_replayed():
    def huge():
        pipeline = deep_pipeline()
        with torch.no_grad():
            pipeline.segmentor.host.encoder[-1].weight *= 1e7
        return pipeline

    half = ReplaySettings(store="memory", precision="half")
    with pytest.raises(ReplayError, match="too large for half precision"):
        run(huge(), "memory", None, replay=half)
    result = run(huge(), "auto", None, replay=dataclasses.replace(half, store="auto"))
    assert "too large for half precision" in result.replay.why


def test_host_that_cannot_be_replayed_is_fitted_from_images_unless_records_are_asked_for():
    def pipeline():
        segmentor = wrap(ToyHost(), torch.rand(1, 3, 16, 16), sites=[Site("", io="input")])
        return Pipeline(segmentor, SPEC, ["lesion"])

    result = run(pipeline(), "auto", None)
    assert not result.replay.used
    assert "no call ends before the sites" in result.replay.why
    with pytest.raises(ReplayError, match="no call ends before the sites"):
        run(pipeline(), "memory", None)


def test_disk_without_a_folder_is_refused():
    with pytest.raises(ConfigError, match="needs a folder"):
        run(deep_pipeline(), "disk", None)


def test_prompts_from_nowhere_are_refused_and_mirrored_columns_too():
    with pytest.raises(ConfigError, match="come from nowhere"):
        fit_toy(None, settings=dataclasses.replace(SETTINGS, prompts=2))
    boxes = PromptSpec(kind="box", columns=("a", "b", "c", "d"))
    pipeline = fits.toy_pipeline()
    pipeline.spec = dataclasses.replace(SPEC, prompt=boxes)
    with pytest.raises(ConfigError, match="image, and not the prompts in a, b, c, d"):
        run(pipeline, "off", None, settings=dataclasses.replace(SHORT, views=("flip-h",)))


def test_fit_method_is_apple_by_default():
    result = run(deep_pipeline(), "off", None)
    assert result.method == MethodSpec()
