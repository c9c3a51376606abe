"""What each kind of perturber does, and what it costs."""

import pytest
import torch
from torch import nn

from apple_seg.host import Pipeline, wrap
from apple_seg.perturb import FitSettings, MethodSpec, ResidualPerturber, build_perturber, fit
from apple_seg.perturb.perturbers import (
    AffinePerturber,
    LeanPerturber,
    RandomPerturber,
    TokenPerturber,
)
from cohorts import GROUPS, SPEC, toy_cohort
from hosts import ToyHost

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
UNET = [(256, (8, 8)), (16, (64, 64)), (32, (32, 32)), (64, (16, 16)), (128, (8, 8))]
"""All sites of a MONAI UNet of 16 to 256 channels, at 128 px."""


def parameters(module):
    return sum(value.numel() for value in module.parameters())


def new(name, channels, cells, **options):
    return build_perturber({"name": name, "channels": channels, "cells": cells, **options})


def monai_unet():
    from monai.networks.nets import UNet

    return UNet(2, 3, 1, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2)


@pytest.mark.parametrize("cells", [(8, 8), (64, 64), (4, 4, 4)])
def test_residual_layers_have_the_published_widths(cells):
    perturber = ResidualPerturber(10, cells=cells)
    convolutions = [m for m in perturber.modules() if isinstance(m, CONVOLUTIONS)]
    widths = [m.out_channels for m in convolutions]
    assert widths == [32, 64, 128, 128, 128, 128, 128, 64, 32, 10]


@pytest.mark.parametrize(
    ("channels", "widths"),
    [(1, [8, 8, 1]), (24, [12, 12, 24]), (128, [24, 24, 128]), (576, [24, 24, 576])],
)
def test_lean_layers_have_half_the_channels_within_bounds(channels, widths):
    perturber = LeanPerturber(channels, cells=(8, 8))
    convolutions = [m for m in perturber.modules() if isinstance(m, CONVOLUTIONS)]
    assert [m.out_channels for m in convolutions] == widths


@pytest.mark.parametrize(
    ("channels", "cells", "by_hand"),
    [
        (16, (64, 64), (16 * 8 + 8) + (8 * 8 * 9 + 8) + 2 * 8 + (8 * 16 + 16)),
        (576, (4, 4), (576 * 24 + 24) + (24 * 24 * 9 + 24) + 2 * 24 + (24 * 576 + 576)),
        (64, (4, 4, 4), (64 * 24 + 24) + (24 * 24 * 27 + 24) + 2 * 24 + (24 * 64 + 64)),
    ],
)
def test_lean_perturber_has_an_eighth_of_the_residual_one_s_weights_at_most(
    channels, cells, by_hand
):
    assert parameters(new("lean", channels, cells)) == by_hand
    assert 8 * by_hand <= parameters(new("residual", channels, cells))


@pytest.mark.parametrize(
    ("name", "options", "least", "most"),
    [
        ("lean", {}, 0.0255, 0.0265),
        ("lean", {"rank": 64}, 0.0865, 0.0875),
        ("lean", {"rank": 40}, 0.0475, 0.0485),
        ("lean", {"rank": 24, "context": True}, 0.039, 0.041),
        ("lean", {"rank": 16}, 0.0155, 0.0165),
        ("tokens", {"rank": 64}, 0.035, 0.04),
        ("affine", {}, 0, 0.001),
    ],
)
def test_perturbers_of_all_sites_are_a_small_share_of_a_unet(name, options, least, most):
    together = sum(parameters(new(name, *shape, **options)) for shape in UNET)
    assert least <= together / parameters(monai_unet()) <= most


def test_what_a_lean_perturber_brings_up_counts_four_times():
    perturber = new("lean", 2, (3, 3))
    nn.init.constant_(perturber.last.bias, 0.5)
    latent = torch.randn(1, 2, 3, 3)
    torch.testing.assert_close(perturber(latent), latent + 2)


def reach(perturber, at=(0, 0, 0, 0)):
    """Return the cells (h, w) of the latent on which one perturbed cell depends."""
    latent = torch.randn(1, 2, 9, 9, requires_grad=True)
    perturber(latent)[at].backward()
    return latent.grad[0].ne(0).any(0)


def test_context_lets_each_cell_depend_on_the_whole_image():
    latents = torch.randn(4, 2, 9, 9)
    for context in (False, True):
        perturber = new("lean", 2, (9, 9), context=context)
        nn.init.normal_(perturber.last.weight)
        # Group norm spreads a little of everything as well: it is taken out to see the rest.
        perturber.hidden[2] = nn.Identity()
        assert int(reach(perturber).sum()) == 4  # the corner of a kernel of 3
        if context:
            nn.init.normal_(perturber.context.last.weight)
            assert reach(perturber).all()
            nn.init.zeros_(perturber.context.last.weight)
            nn.init.constant_(perturber.context.last.bias, 0.5)
            nn.init.zeros_(perturber.last.weight)
            torch.testing.assert_close(perturber(latents), 1.5 * latents)


def test_affine_by_hand():
    perturber = AffinePerturber(2, cells=(1, 3))
    perturber.load_state_dict({"gain": torch.tensor([1.0, -0.5]), "shift": torch.tensor([0.0, 3])})
    latent = torch.tensor([[[[1.0, 2, 3]], [[2.0, 4, 6]]]])
    expected = torch.tensor([[[[2.0, 4, 6]], [[4.0, 5, 6]]]])
    torch.testing.assert_close(perturber(latent), expected)


def test_tokens_mix_the_channels_of_each_cell_and_nothing_else():
    perturber = TokenPerturber(2, cells=(9, 9))
    nn.init.normal_(perturber.last.weight)
    cells = reach(perturber, (0, 1, 4, 5))
    assert cells.nonzero().tolist() == [[4, 5]]
    latent = torch.randn(2, 2, 9, 9)
    sequence = TokenPerturber(2, cells=(81,))
    sequence.load_state_dict({k: v.flatten(2) if v.ndim > 1 else v for k, v in weights(perturber)})
    torch.testing.assert_close(sequence(latent.flatten(2)), perturber(latent).flatten(2))


def weights(module):
    return module.state_dict().items()


def test_tokens_by_hand():
    """(3, 4) has the root mean square 5 / sqrt 2; A picks the first channel, B adds to both."""
    perturber = TokenPerturber(2, cells=(1,), rank=1)
    values = {"down.weight": [[[1.0], [0.0]]], "down.bias": [0.0]}
    values |= {"last.weight": [[[1.0]], [[-1.0]]], "last.bias": [0.0, 0.0]}
    perturber.load_state_dict({name: torch.tensor(value) for name, value in values.items()})
    change = 4 * 3 / (5 / 2**0.5)
    found = perturber(torch.tensor([[[3.0], [4.0]]]))
    torch.testing.assert_close(found, torch.tensor([[[3 + change], [4 - change]]]))


@pytest.mark.parametrize("norm", [0.1, 0.7])
def test_random_residual_has_the_stated_size_in_every_case_and_comes_from_the_seed(norm):
    def made(seed):
        torch.manual_seed(seed)
        perturber = RandomPerturber(5, cells=(4, 4), norm=norm)
        perturber.solve(lambda: pytest.fail("no case need be looked at"))
        return perturber

    latent = torch.randn(3, 5, 4, 4) * torch.tensor([0.1, 1, 50])[:, None, None, None]
    residual = made(1)(latent) - latent
    share = residual.flatten(1).norm(dim=1) / latent.flatten(1).norm(dim=1)
    torch.testing.assert_close(share, torch.full((3,), norm), rtol=1e-4, atol=0)
    torch.testing.assert_close(made(1)(latent), latent + residual, rtol=0, atol=0)
    assert not torch.allclose(made(2)(latent), latent + residual)


def timid_host():
    """A host that sees the lesion's brightness, and asks for far too much of it."""
    host = ToyHost()
    with torch.no_grad():
        host.encoder.conv.weight.zero_()[0, 2, 1, 1] = 1
        host.encoder.conv.bias.zero_()
        host.decoder.weight.zero_()[0, 0] = 4
        host.decoder.bias.fill_(-4 * 2.9)  # lesions are at 2 to 3, the rest at 0 to 1
    return host


@pytest.mark.parametrize(
    "perturber", ["affine", "tokens", {"name": "lean", "context": True}], ids=str
)
def test_fitted_perturber_lifts_a_host_that_asks_for_too_much(perturber):
    segmentor = wrap(timid_host(), torch.rand(1, 3, 16, 16), sites=[ToyHost.SITE])
    result = fit(
        Pipeline(segmentor, SPEC, ["lesion"]),
        train=toy_cohort(),
        validation=toy_cohort(split="val", seed=1),
        groups=GROUPS,
        method=MethodSpec(name="segmentation-only", perturber=perturber),
        settings=FitSettings(epochs=8, batch_size=8, learning_rate=0.1),
        progress=False,
    )
    assert result.candidates[0].group_min < 0.2
    assert result.selected.group_min > 0.7
