"""Perturbers begin as the identity, learn everywhere, and are rebuilt from their config."""

import pytest
import torch
from torch import nn

from apple_seg.perturb import PERTURBERS, ResidualPerturber, build_perturber, describe_perturber
from apple_seg.perturb.perturbers import LeanPerturber

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LATENTS = [
    (8, (8, 8)),
    (4, (32, 48)),
    (16, (1, 1)),
    (6, (5, 7)),
    (1, (4, 4)),
    (4, (4, 4, 4)),
    (5, (1, 1, 1)),
    (2, (33, 65)),
    (3, (9,)),
    (300, (1,)),
]

every_perturber = pytest.mark.parametrize("name", PERTURBERS)
every_latent = pytest.mark.parametrize(("channels", "cells"), LATENTS)


def new(name, channels, cells):
    torch.manual_seed(0)
    return build_perturber({"name": name, "channels": channels, "cells": cells})


def loud(perturber):
    """Bring it far from the identity."""
    nn.init.normal_(perturber.last.weight, std=0.1)
    return perturber


def parameters(perturber):
    return sum(value.numel() for value in perturber.parameters())


@every_perturber
@every_latent
def test_new_perturber_is_the_identity_bit_for_bit_and_keeps_the_shape(name, channels, cells):
    perturber = new(name, channels, cells)
    latent = torch.randn(2, channels, *cells)
    torch.testing.assert_close(perturber(latent), latent, rtol=0, atol=0)
    perturbed = loud(perturber)(latent)
    assert perturbed.shape == latent.shape
    assert not torch.allclose(perturbed, latent)


@every_perturber
@every_latent
def test_every_parameter_learns_after_the_first_step(name, channels, cells):
    perturber = new(name, channels, cells)
    latent, wanted = torch.randn(2, 8, channels, *cells)
    optimizer = torch.optim.SGD(perturber.parameters(), 0.1)
    (perturber(latent) - wanted).square().mean().backward()
    silent = {key for key, value in perturber.named_parameters() if not value.grad.any()}
    assert silent == {key for key, _ in perturber.named_parameters() if "last" not in key}
    optimizer.step()
    (perturber(latent) - wanted).square().mean().backward()
    assert all(value.grad.any() for value in perturber.parameters())


@every_perturber
def test_a_case_is_perturbed_alike_alone_and_in_a_batch(name):
    perturber = loud(new(name, 3, (8, 8))).train()
    batch = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(perturber(batch)[:1], perturber(batch[:1]))
    assert not list(perturber.buffers())
    knows_the_batch = nn.BatchNorm2d(3).train()
    assert not torch.allclose(knows_the_batch(batch)[:1], knows_the_batch(batch[:1]))


@every_perturber
def test_larger_images_than_the_example_are_perturbed_too(name):
    perturber = loud(new(name, 3, (32, 32)))
    latent = torch.randn(1, 3, 47, 61)
    assert perturber(latent).shape == latent.shape


@every_perturber
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_perturbs_in_the_precision_it_is_brought_to(name, dtype):
    perturber = loud(new(name, 4, (6, 6)))
    latent = torch.randn(2, 4, 6, 6)
    expected = perturber(latent)
    perturbed = perturber.to(dtype)(latent.to(dtype))
    assert perturbed.dtype == dtype
    error = 0.1 if dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(perturbed.float(), expected, rtol=error, atol=error)


@every_perturber
def test_description_makes_the_same_module(name):
    perturber = new(name, 3, (40, 40))
    description = describe_perturber(perturber)
    assert {"name": name, "channels": 3, "cells": [40, 40]}.items() <= description.items()
    twin = build_perturber(description)
    loud(perturber)
    latent = torch.randn(1, 3, 40, 40)
    assert not torch.allclose(twin(latent), perturber(latent))
    twin.load_state_dict(perturber.state_dict())
    torch.testing.assert_close(twin(latent), perturber(latent), rtol=0, atol=0)


@pytest.mark.parametrize("cells", [(8, 8), (64, 64), (4, 4, 4)])
def test_residual_layers_have_the_published_widths(cells):
    perturber = ResidualPerturber(10, cells=cells)
    convolutions = [m for m in perturber.modules() if isinstance(m, CONVOLUTIONS)]
    widths = [m.out_channels for m in convolutions]
    assert widths == [32, 64, 128, 128, 128, 128, 128, 64, 32, 10]


@pytest.mark.parametrize(
    ("channels", "widths"),
    [(1, [8, 8, 1]), (24, [12, 12, 24]), (128, [64, 64, 128]), (576, [64, 64, 576])],
)
def test_lean_layers_have_half_the_channels_within_bounds(channels, widths):
    perturber = LeanPerturber(channels, cells=(8, 8))
    convolutions = [m for m in perturber.modules() if isinstance(m, CONVOLUTIONS)]
    assert [m.out_channels for m in convolutions] == widths


@pytest.mark.parametrize(
    ("channels", "cells", "by_hand"),
    [
        (16, (64, 64), (16 * 8 + 8) + (8 * 8 * 9 + 8) + 2 * 8 + (8 * 16 + 16)),
        (576, (4, 4), (576 * 64 + 64) + (64 * 64 * 9 + 64) + 2 * 64 + (64 * 576 + 576)),
        (64, (4, 4, 4), (64 * 32 + 32) + (32 * 32 * 27 + 32) + 2 * 32 + (32 * 64 + 64)),
    ],
)
def test_lean_perturber_has_an_eighth_of_the_residual_one_s_weights_at_most(
    channels, cells, by_hand
):
    assert parameters(new("lean", channels, cells)) == by_hand
    assert 8 * by_hand <= parameters(new("residual", channels, cells))


def test_what_a_lean_perturber_brings_up_counts_four_times():
    perturber = new("lean", 2, (3, 3))
    nn.init.constant_(perturber.last.bias, 0.5)
    latent = torch.randn(1, 2, 3, 3)
    torch.testing.assert_close(perturber(latent), latent + 2)


def test_unknown_perturbers_are_refused():
    with pytest.raises(ValueError, match="no perturber called 'magic'; known are: residual, lean"):
        build_perturber({"name": "magic", "channels": 3})
    with pytest.raises(TypeError, match="a Linear cannot be saved"):
        describe_perturber(nn.Linear(1, 1))
