"""The pooling that discriminators see, against torch's own mean and deviation."""

import pytest
import torch

from apple_seg.perturb import Discriminator, pool
from apple_seg.perturb.objectives.pooling import batch_statistics


def plain(latents):
    """Return mean and standard deviation with torch's own, slower functions."""
    parts = []
    for latent in latents:
        cells = latent.flatten(2)
        parts += [cells.mean(-1), (cells.var(-1, unbiased=False) + 1e-6).sqrt()]
    return torch.cat(parts, 1)


@pytest.mark.parametrize("cells", [(7,), (5, 4), (3, 4, 2), (1, 1)])
@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_pooling_and_its_gradient_are_those_of_mean_and_deviation(cells, offset):
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4, *cells), (3, 2, *cells)]
    latents = [torch.randn(shape, generator=generator) + offset for shape in shapes]
    ours = [latent.clone().requires_grad_() for latent in latents]
    theirs = [latent.clone().requires_grad_() for latent in latents]
    weights = torch.randn(3, 12, generator=generator)
    found, expected = pool(ours), plain(theirs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-3 * weights.abs().max())


def test_memory_layout_does_not_matter():
    latent = torch.randn(2, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    last = latent.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(pool([last]), pool([latent]), rtol=1e-5, atol=1e-6)


def test_statistics_of_a_batch_are_those_of_all_its_cells():
    generator = torch.Generator().manual_seed(0)
    latents = [torch.randn(3, 4, 5, 4, generator=generator) + 2, torch.randn(3, 2, 7)]
    found = batch_statistics(pool(latents), [4, 2])
    for latent, (mean, deviation) in zip(latents, found, strict=True):
        channels = latent.transpose(0, 1).flatten(1)
        torch.testing.assert_close(mean, channels.mean(1))
        expected = channels.std(1, unbiased=False)
        torch.testing.assert_close(deviation, expected, rtol=1e-4, atol=1e-4)


def test_discriminator_is_never_unsure_with_the_last_norm_and_may_be_without():
    torch.manual_seed(0)
    pooled = torch.randn(32, 8)
    for last_norm, expected in ((True, 1.0), (False, 0.0)):
        one = Discriminator([4], 2, numbers=1, last_norm=last_norm)
        with torch.no_grad():
            one.blocks[6].weight *= 0.05  # next to nothing is made of it
            one.blocks[6].bias.zero_()
        spread = one(pooled)[:, :2].std(0, unbiased=False).mean().item()
        assert spread == pytest.approx(expected, abs=0.1)
        assert one(pooled).shape == (32, 3)
        assert one.blocks[-1](torch.randn(5, 2 if last_norm else 64)).shape == (5, 2)
