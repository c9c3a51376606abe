"""A transformer's tokens have their channels last; perturbers get them first all the same."""

import pytest
import torch
from torch import nn

from apple_seg.errors import SiteError
from apple_seg.host import Pipeline, Site, wrap
from apple_seg.perturb import FitSettings, MethodSpec, fit
from apple_seg.ship import attach, save
from cohorts import GROUPS, SPEC, toy_cohort


class TokenHost(nn.Module):
    """Images (N, 3, 16, 16) to tokens (N, 16, 12), or (N, 4, 4, 12), and back."""

    def __init__(self, flat=True):
        super().__init__()
        self.flat = flat
        self.embed = nn.Conv2d(3, 12, 4, stride=4)
        self.block = nn.Linear(12, 12)
        self.head = nn.Linear(12, 16)

    def forward(self, images):
        tokens = self.embed(images).movedim(1, -1)
        tokens = self.block(tokens.flatten(1, 2) if self.flat else tokens)
        patches = self.head(tokens).view(len(images), 4, 4, 4, 4)
        return patches.permute(0, 1, 3, 2, 4).reshape(len(images), 1, 16, 16)


def token_host(flat):
    torch.manual_seed(0)
    return TokenHost(flat)


@pytest.mark.parametrize("flat", [True, False], ids=["(N, T, C)", "(N, h, w, C)"])
@pytest.mark.parametrize("perturber", ["tokens", "lean", "affine"])
def test_a_perturber_of_tokens_is_fitted_saved_and_attached(flat, perturber, tmp_path):
    host = token_host(flat)
    images = torch.rand(2, 3, 16, 16)
    expected = host(images)
    segmentor = wrap(host, images[:1], sites=[Site("block", axis=-1)])
    (shape,) = segmentor.shapes
    assert (shape.channels, shape.cells) == (12, (16,) if flat else (4, 4))
    result = fit(
        Pipeline(segmentor, SPEC, ["lesion"]),
        train=toy_cohort(),
        validation=toy_cohort(split="val", seed=1),
        groups=GROUPS,
        method=MethodSpec(name="segmentation-only", perturber=perturber),
        settings=FitSettings(epochs=4, batch_size=8, learning_rate=1e-2, selection="latest"),
        progress=False,
    )
    assert result.losses[-1]["segmentation"] < result.losses[0]["segmentation"]
    assert result.selected.epoch > 0
    (latent,) = segmentor(images).latents
    assert latent.shape == (2, 12, *shape.cells)
    perturbed = segmentor.predict(images)
    assert not torch.allclose(perturbed, expected)
    save(segmentor, tmp_path / "tokens.safetensors", spec=SPEC)
    again = attach(token_host(flat), tmp_path / "tokens.safetensors", spec=SPEC)
    torch.testing.assert_close(again.predict(images), perturbed, rtol=0, atol=0)
    torch.testing.assert_close(segmentor.detach()(images), expected, rtol=0, atol=0)


def test_channels_are_where_the_site_says():
    host = token_host(flat=True)
    first = wrap(host, torch.rand(1, 3, 16, 16), sites=[Site("block")])
    assert first.shapes[0].channels == 16  # tokens are taken for channels unless it is said
    assert str(Site("block", axis=-1)) == "block (channels at -1)"


@pytest.mark.parametrize("axis", [0, 7, -4])
def test_an_axis_that_is_not_there_says_so_and_leaves_no_hook(axis):
    host = token_host(flat=True)
    with pytest.raises(SiteError, match="axis"):
        wrap(host, torch.rand(1, 3, 16, 16), sites=[Site("block", axis=axis)])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in host.modules())
