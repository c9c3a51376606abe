"""Perturbers begin as the identity, have the published shape, and are rebuilt from their config."""

import pytest
import torch
from torch import nn

from apple_seg.perturb import ResidualPerturber, build_perturber, describe_perturber

LATENTS = [(8, (8, 8)), (4, (32, 48)), (16, (1, 1)), (6, (5, 7)), (4, (4, 4, 4)), (2, (33, 65))]


@pytest.mark.parametrize(("channels", "cells"), LATENTS)
def test_new_perturber_is_the_identity_bit_for_bit_and_learns(channels, cells):
    perturber = ResidualPerturber(channels, cells=cells)
    latent = torch.randn(2, channels, *cells)
    torch.testing.assert_close(perturber(latent), latent, rtol=0, atol=0)
    perturber(latent).square().sum().backward()
    assert perturber.last.weight.grad.any()
    nn.init.normal_(perturber.last.weight)
    assert perturber(latent).shape == latent.shape
    assert not torch.allclose(perturber(latent), latent)


@pytest.mark.parametrize("cells", [(8, 8), (64, 64), (4, 4, 4)])
def test_layers_have_the_published_widths(cells):
    perturber = ResidualPerturber(10, cells=cells)
    convolutions = [m for m in perturber.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
    widths = [m.out_channels for m in convolutions]
    assert widths == [32, 64, 128, 128, 128, 128, 128, 64, 32, 10]


def test_a_case_is_perturbed_alike_alone_and_in_a_batch():
    perturber = ResidualPerturber(3, cells=(8, 8)).train()
    nn.init.normal_(perturber.last.weight, std=0.01)
    batch = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(perturber(batch)[:1], perturber(batch[:1]))


def test_larger_images_than_the_example_are_perturbed_too():
    perturber = ResidualPerturber(3, cells=(32, 32))
    nn.init.normal_(perturber.last.weight)
    latent = torch.randn(1, 3, 47, 61)
    assert perturber(latent).shape == latent.shape


def test_description_makes_the_same_module():
    perturber = ResidualPerturber(3, cells=(40, 40))
    twin = build_perturber(describe_perturber(perturber))
    twin.load_state_dict(perturber.state_dict())
    nn.init.normal_(perturber.last.weight)
    twin.load_state_dict(perturber.state_dict())
    latent = torch.randn(1, 3, 40, 40)
    torch.testing.assert_close(twin(latent), perturber(latent), rtol=0, atol=0)


def test_unknown_perturbers_are_refused():
    with pytest.raises(ValueError, match="no perturber called 'magic'; known are: residual"):
        build_perturber({"name": "magic", "channels": 3})
    with pytest.raises(TypeError, match="a Linear cannot be saved"):
        describe_perturber(nn.Linear(1, 1))
