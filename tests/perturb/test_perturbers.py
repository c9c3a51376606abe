"""Perturbers begin as the identity, learn everywhere, and are rebuilt from their config."""

import re

import pytest
import torch
from torch import nn

from apple_seg.errors import ConfigError
from apple_seg.host import wrap
from apple_seg.perturb import PERTURBERS, build_perturber, describe_perturber
from apple_seg.perturb.perturbers import SOLVED, Rows
from apple_seg.ship import attach, save
from hosts import ToyHost

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
OPTIONS = [
    {"name": "lean", "rank": 0},
    {"name": "tokens", "rank": 0},
    {"name": "random", "norm": 0.0},
    {"name": "leace", "rank": 0},
    {"name": "leace", "ridge": -0.1},
    {"name": "statistics", "shrinkage": 1.5},
    {"name": "statistics", "shrinkage": "much"},
]
KINDS = [*({"name": name} for name in PERTURBERS), {"name": "lean", "rank": 8, "context": True}]
TRAINED = [kind for kind in KINDS if kind["name"] not in SOLVED]

every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)
every_latent = pytest.mark.parametrize(("channels", "cells"), LATENTS)


def new(kind, channels, cells):
    torch.manual_seed(0)
    return build_perturber({**kind, "channels": channels, "cells": cells})


def loud(perturber):
    """Bring it far from the identity: give all that is zero some size."""
    with torch.no_grad():
        for value in perturber.parameters():
            if not value.any():
                nn.init.normal_(value, mean=0.3, std=0.1)
    return perturber


@every_kind
@every_latent
def test_new_perturber_is_the_identity_bit_for_bit_and_keeps_the_shape(kind, channels, cells):
    perturber = new(kind, channels, cells)
    latent = torch.randn(2, channels, *cells)
    torch.testing.assert_close(perturber(latent), latent, rtol=0, atol=0)
    perturbed = loud(perturber)(latent)
    assert perturbed.shape == latent.shape
    assert not torch.allclose(perturbed, latent)


@pytest.mark.parametrize("kind", TRAINED, ids=str)
@every_latent
def test_every_parameter_learns_after_the_first_step(kind, channels, cells):
    perturber = new(kind, channels, cells)
    latent, wanted = torch.randn(2, 8, channels, *cells)
    optimizer = torch.optim.SGD(perturber.parameters(), 0.1)
    (perturber(latent) - wanted).square().mean().backward()
    learning = {key for key, value in perturber.named_parameters() if value.grad.any()}
    every = {key for key, _ in perturber.named_parameters()}
    assert learning == ({key for key in every if "last" in key} or every)
    optimizer.step()
    (perturber(latent) - wanted).square().mean().backward()
    assert all(value.grad.any() for value in perturber.parameters())


@every_kind
def test_what_is_trained_has_gradients_and_what_is_solved_has_none(kind):
    wanted = {value.requires_grad for value in new(kind, 3, (8, 8)).parameters()}
    assert wanted == {kind["name"] not in SOLVED}


@every_kind
def test_a_case_is_perturbed_alike_alone_and_in_a_batch(kind):
    perturber = loud(new(kind, 3, (8, 8))).train()
    batch = torch.randn(4, 3, 8, 8)
    before = {key: value.clone() for key, value in perturber.named_buffers()}
    torch.testing.assert_close(perturber(batch)[:1], perturber(batch[:1]))
    torch.testing.assert_close(dict(perturber.named_buffers()), before, rtol=0, atol=0)
    knows_the_batch = nn.BatchNorm2d(3).train()
    assert not torch.allclose(knows_the_batch(batch)[:1], knows_the_batch(batch[:1]))


@every_kind
def test_larger_images_than_the_example_are_perturbed_too(kind):
    perturber = loud(new(kind, 3, (32, 32)))
    latent = torch.randn(1, 3, 47, 61)
    assert perturber(latent).shape == latent.shape


@every_kind
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_perturbs_in_the_precision_it_is_brought_to(kind, dtype):
    perturber = loud(new(kind, 4, (6, 6)))
    latent = torch.randn(2, 4, 6, 6)
    expected = perturber(latent)
    perturbed = perturber.to(dtype)(latent.to(dtype))
    assert perturbed.dtype == dtype
    error = 0.1 if dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(perturbed.float(), expected, rtol=error, atol=error)


@every_kind
def test_latents_with_channels_last_in_memory_are_perturbed_alike(kind):
    perturber = loud(new(kind, 4, (6, 6)))
    latent = torch.randn(2, 4, 6, 6)
    found = perturber(latent.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, perturber(latent), rtol=1e-5, atol=1e-5)


@every_kind
def test_description_makes_the_same_module(kind):
    perturber = new(kind, 3, (40, 40))
    description = describe_perturber(perturber)
    assert {**kind, "channels": 3, "cells": [40, 40]}.items() <= description.items()
    twin = build_perturber(description)
    loud(perturber)
    latent = torch.randn(1, 3, 40, 40)
    assert not torch.allclose(twin(latent), perturber(latent))
    twin.load_state_dict(perturber.state_dict())
    torch.testing.assert_close(twin(latent), perturber(latent), rtol=0, atol=0)


@every_kind
def test_saved_perturber_is_attached_to_give_the_same_masks(kind, tmp_path):
    host, images = ToyHost(), torch.rand(2, 3, 16, 16)
    segmentor = wrap(host, images[:1], sites=[ToyHost.SITE])
    deployed = segmentor.predict(images)
    segmentor.install([loud(new(kind, 8, (8, 8)))])
    save(segmentor.eval(), tmp_path / "perturber.safetensors")
    expected = segmentor.predict(images)
    assert not torch.allclose(expected, deployed)
    segmentor.detach()
    torch.manual_seed(1)  # nothing of the result may come from the seed
    attached = attach(host, tmp_path / "perturber.safetensors")
    torch.testing.assert_close(attached.predict(images), expected, rtol=0, atol=0)
    doubled = attached.host.double()  # a host that changes takes its perturber along
    torch.testing.assert_close(attached.predict(images.double()).float(), expected)
    assert next(doubled.parameters()).dtype == torch.float64


@pytest.mark.parametrize("name", sorted(SOLVED))
def test_solved_perturbers_are_the_identity_no_more(name):
    perturber = new({"name": name}, 3, (8, 8))
    groups = (torch.arange(40) % 2).double()[:, None] - 0.5
    pooled = torch.rand(40, 6).double() + groups
    perturber.solve(lambda: Rows(pooled, groups))
    latent = torch.randn(2, 3, 8, 8)
    assert not torch.allclose(perturber(latent), latent)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_out_of_range_are_refused(options):
    name, given = list(options.items())[-1]
    with pytest.raises(ConfigError, match=rf"{name}.*{re.escape(str(given))}"):
        new(options, 3, (8, 8))


def test_unknown_perturbers_are_refused():
    with pytest.raises(ValueError, match="no perturber called 'magic'; known are: residual, lean"):
        build_perturber({"name": "magic", "channels": 3})
    with pytest.raises(TypeError, match="a Linear cannot be saved"):
        describe_perturber(nn.Linear(1, 1))
