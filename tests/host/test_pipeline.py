"""A pipeline uses a host as it is deployed: preprocessing, prompts, masks on the native grid."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from apple_seg.errors import CaseError, ConfigError, HostError
from apple_seg.host import HostSpec, InputSpec, OutputSpec, Pipeline, PromptSpec, prepare, wrap
from apple_seg.host.inputs import to_grid
from hosts import ToyHost


@dataclass
class Sample:
    image: np.ndarray
    mask: np.ndarray | None = None
    key: str = "a"
    row: dict[str, Any] = field(default_factory=dict)


def spec(**tables):
    return HostSpec(factory="hosts:ToyHost", **tables)


def prepared(image, **settings):
    return prepare([Sample(np.asarray(image, np.float32))], spec(input=InputSpec(**settings)))


def test_fixed_normalisation_by_hand():
    image = np.stack([np.full((2, 2), value) for value in (255.0, 127.5, 0.0)])
    inputs = prepared(image, divide=255.0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.1))
    assert inputs.images[0, :, 0, 0].tolist() == [1.0, 0.0, -5.0]


def test_each_image_can_be_normalised_by_its_own_statistics():
    inputs = prepared(np.random.default_rng(0).random((1, 8, 8)) * 90 + 7, normalise="per-image")
    assert inputs.images.mean().item() == pytest.approx(0, abs=1e-5)
    assert inputs.images.std().item() == pytest.approx(1, abs=1e-5)


def test_window_is_clipped_before_normalisation():
    inputs = prepared([[[-1000.0, 40.0], [80.0, 3000.0]]], clip=(-160, 240), divide=240)
    assert inputs.images.flatten().tolist() == pytest.approx([-160 / 240, 40 / 240, 80 / 240, 1])


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_an_image_whose_channels_come_last_is_refused_where_colours_are_asked_for(channels):
    with pytest.raises(CaseError, match=r"shape \(16, 8, 3\).*channels come first"):
        prepared(np.zeros((16, 8, 3)), channels=channels)


@pytest.mark.parametrize(
    ("channels", "stored", "expected"),
    [
        ("as-stored", [1.0, 2.0, 3.0], [1, 2, 3]),
        ("rgb", [1.0, 2.0, 3.0], [1, 2, 3]),
        ("bgr", [1.0, 2.0, 3.0], [3, 2, 1]),
        ("grey", [1.0, 2.0, 3.0], [2]),
        ("rgb", [5.0], [5, 5, 5]),
        ("rgb", [1.0, 2.0, 3.0, 255.0], [1, 2, 3]),
    ],
)
def test_channels_come_as_the_host_expects_them(channels, stored, expected):
    image = np.array(stored).reshape(-1, 1, 1) * np.ones((1, 2, 2))
    assert prepared(image, channels=channels).images[0, :, 0, 0].tolist() == expected


def test_longest_side_fits_and_the_rest_is_zeros_after_normalisation():
    inputs = prepared(np.full((3, 150, 200), 9.0), size=(64, 64), fit="longest", mean=(4.0,))
    assert inputs.images.shape == (1, 3, 64, 64)
    assert inputs.frames[0].inside == (48, 64)
    assert torch.allclose(inputs.images[..., :48, :], torch.tensor(5.0))
    assert (inputs.images[..., 48:, :] == 0).all()


def test_volumes_are_brought_to_their_grid():
    inputs = prepared(np.random.default_rng(0).random((1, 8, 10, 12)), size=(4, 4, 4))
    assert inputs.images.shape == (1, 1, 4, 4, 4)
    with pytest.raises(CaseError, match=r"\(8, 10, 12\) cannot be brought to size \(4, 4\)"):
        prepared(np.zeros((1, 8, 10, 12)), size=(4, 4))


def test_images_of_differing_sizes_need_a_common_grid():
    samples = [Sample(np.zeros((3, 8, 8), np.float32)), Sample(np.zeros((3, 8, 9), np.float32))]
    with pytest.raises(CaseError, match=r"cannot share a batch; set \[host.input\] size"):
        prepare(samples, spec())
    assert prepare(samples, spec(input=InputSpec(size=(4, 4)))).images.shape[0] == 2


class Echo(nn.Module):
    """Returns its own image as logits, past an encoder that a perturber can sit on."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.encoder.weight.copy_(torch.eye(2)[:, :, None, None])

    def forward(self, images):
        return self.encoder(images)


def echo(output, classes, **tables):
    from apple_seg.host import Site

    segmentor = wrap(Echo(), torch.rand(1, 2, 8, 8), sites=[Site("encoder")])
    return Pipeline(segmentor, spec(output=output, **tables), classes)


def test_masks_are_decided_on_the_native_grid_after_padding_is_cut_off():
    pipeline = echo(
        OutputSpec(), ["lesion"], input=InputSpec(size=(8, 8), fit="longest", channels="as-stored")
    )
    image = np.full((2, 20, 40), -5.0, np.float32)
    image[:, 10:] = 5
    (mask,) = pipeline([Sample(image)])
    assert mask.shape == (1, 20, 40)
    assert mask[0, 12:].all()
    assert not mask[0, :8].any()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (OutputSpec(channels={"b": 1}), [[False, True, True]]),
        (OutputSpec(threshold=0.9, channels={"b": 1}), [[False, False, True]]),
        (OutputSpec(activation="softmax"), [[False, True, False]]),
    ],
    ids=["sigmoid", "threshold", "softmax"],
)
def test_activation_threshold_and_class_map(output, expected):
    image = np.array([[[0.0, 0.0, 4.0]], [[-1.0, 1.0, 3.0]]], np.float32)
    (mask,) = echo(output, ["b"])([Sample(image)])
    assert mask[:, 0].tolist() == expected


def test_probabilities_are_taken_back_to_logits():
    probabilities = np.array([[[0.2, 0.8]], [[0.4, 0.6]]], np.float32)
    pipeline = echo(OutputSpec(kind="probabilities", threshold=0.7), ["a", "b"])
    (mask,) = pipeline([Sample(probabilities)])
    assert mask[:, 0].tolist() == [[False, True], [False, False]]
    raw = torch.from_numpy(probabilities)[None]
    torch.testing.assert_close(pipeline.logits(raw, raw.shape[2:]).sigmoid(), raw)


def test_class_without_channel_and_too_few_channels_are_refused():
    with pytest.raises(ConfigError, match=r"no channel for vessel; .* knows"):
        echo(OutputSpec(channels={"lesion": 0}), ["lesion", "vessel"])
    pipeline = echo(OutputSpec(channels={"lesion": 4}), ["lesion"])
    with pytest.raises(ConfigError, match="returns 2 channels, the classes need channel 4"):
        pipeline([Sample(np.zeros((2, 8, 8), np.float32))])


def boxed(prompt, key="a"):
    mask = np.zeros((1, 100, 200), bool)
    mask[0, 20:40, 50:150] = True
    sample = Sample(np.zeros((3, 100, 200), np.float32), mask, key, {"x": "10", "y": "20"})
    given = spec(prompt=prompt, input=InputSpec(size=(64, 64), fit="longest"))
    return prepare([sample], given).prompts


def test_box_from_the_truth_is_scaled_to_the_grid():
    exact = boxed(PromptSpec(kind="box", jitter=0.0))["boxes"]
    assert exact[0].tolist() == pytest.approx([50 * 0.32, 20 * 0.32, 150 * 0.32, 40 * 0.32])


def test_jitter_is_drawn_by_case_and_seed_and_stays_in_bounds():
    prompt = PromptSpec(kind="box", jitter=0.1)
    first = boxed(prompt)["boxes"]
    assert torch.equal(boxed(prompt)["boxes"], first)
    assert not torch.equal(boxed(prompt, key="b")["boxes"], first)
    assert not torch.equal(boxed(replace(prompt, seed=1))["boxes"], first)
    off = (first - boxed(PromptSpec(kind="box", jitter=0.0))["boxes"]).abs()[0] / 0.32
    assert (off <= torch.tensor([10.0, 2, 10, 2]) + 1e-4).all()
    assert off.max() > 0.1


def test_points_come_from_the_mask_or_from_columns():
    drawn = boxed(PromptSpec(kind="point"))
    x, y = (drawn["points"][0, 0] / 0.32).tolist()
    assert (50 <= x <= 150, 20 <= y <= 40) == (True, True)
    assert drawn["labels"].tolist() == [[1.0]]
    listed = boxed(PromptSpec(kind="point", columns=("x", "y")))["points"]
    torch.testing.assert_close(listed, torch.tensor([[[3.2, 6.4]]]))
    with pytest.raises(CaseError, match="a: no prompt in columns x, z"):
        boxed(PromptSpec(kind="point", columns=("x", "z")))
    assert PromptSpec(kind="box").from_truth
    assert not PromptSpec(kind="box", columns=("x", "y", "x", "y")).from_truth


def test_prompt_from_an_empty_mask_is_refused():
    sample = Sample(np.zeros((3, 8, 8), np.float32), np.zeros((1, 8, 8), bool))
    with pytest.raises(CaseError, match="a: no mask to take a box from"):
        prepare([sample], spec(prompt=PromptSpec(kind="box")))


def test_mask_on_the_grid_covers_what_the_image_covers():
    frame = prepared(np.zeros((1, 10, 20)), size=(16, 16), fit="longest").frames[0]
    mask = to_grid(np.ones((1, 10, 20), bool), frame, (16, 16))
    assert mask.shape == (1, 16, 16)
    assert mask[:, :8].all()
    assert not mask[:, 8:].any()


def test_deployed_is_the_host_without_its_perturbers():
    segmentor = wrap(ToyHost(), torch.rand(1, 3, 16, 16), sites=[ToyHost.SITE])
    pipeline = Pipeline(segmentor, spec(), ["lesion"])
    sample = Sample(np.random.default_rng(0).random((3, 16, 16)).astype(np.float32))
    (deployed,) = pipeline([sample])

    class Drown(nn.Module):
        def forward(self, latent):
            return (
                latent * -100
                - 1000 * segmentor.host.decoder.weight.sign()[0, :, 0, 0][None, :, None, None]
            )

    segmentor.install([Drown()])
    assert not pipeline([sample])[0].any()
    assert (pipeline.deployed([sample])[0] == deployed).all()
    assert deployed.any()


def test_logits_on_a_coarser_grid_are_brought_to_the_input_grid_before_padding_is_cut():
    class Coarse(Echo):
        def forward(self, images):
            return nn.functional.avg_pool2d(self.encoder(images), 2)

    from apple_seg.host import Site

    segmentor = wrap(Coarse(), torch.rand(1, 2, 8, 8), sites=[Site("encoder")])
    given = spec(input=InputSpec(size=(16, 16), fit="longest"))
    image = np.full((2, 8, 16), -5.0, np.float32)
    image[..., 8:] = 5
    (mask,) = Pipeline(segmentor, given, ["lesion"])([Sample(image)])
    assert (mask[0, :, 10:].all(), mask[0, :, :6].any()) == (True, False)


def test_output_that_is_no_number_is_an_error_and_no_empty_mask():
    pipeline = echo(OutputSpec(), ["lesion"])
    image = np.zeros((2, 8, 8), np.float32)
    pipeline([Sample(image)])
    with torch.no_grad():
        pipeline.segmentor.host.encoder.weight[0, 0] = torch.nan
    with pytest.raises(HostError, match="not finite for b"):
        pipeline([Sample(image, key="b")])


def test_images_of_differing_sizes_are_segmented_one_by_one():
    pipeline = echo(OutputSpec(), ["lesion"])
    samples = [Sample(np.ones((2, 8, 8), np.float32)), Sample(np.ones((2, 8, 9), np.float32))]
    assert [mask.shape for mask in pipeline(samples)] == [(1, 8, 8), (1, 8, 9)]


def test_half_precision_hosts_take_images_of_their_own_precision():
    segmentor = wrap(
        ToyHost().bfloat16(), torch.rand(1, 3, 16, 16).bfloat16(), sites=[ToyHost.SITE]
    )
    (mask,) = Pipeline(segmentor, spec(), ["lesion"])([Sample(np.ones((3, 16, 16), np.float32))])
    assert mask.shape == (1, 16, 16)


def test_normalisation_for_another_number_of_channels_is_refused():
    with pytest.raises(CaseError, match="mean has 3 values, the image 1 channels"):
        prepared(np.zeros((1, 4, 4)), mean=(0.0, 0.0, 0.0))
