"""The pooling that discriminators see, against torch's own mean and deviation."""

import pytest
import torch

from apple_seg.perturb import pool


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
