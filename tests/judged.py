"""Batches whose losses differ by case, or whose latents tell the group."""

import torch

from apple_seg.perturb import Outcome, SegmentationLoss

LOSS = SegmentationLoss("sigmoid", [0])


def judged(codes, *, sizes=(2,), seed=0, shift=0.0, dtype=torch.float32, **more):
    """Return an outcome of random masks; the logits are a leaf, and are the worse the later."""
    codes = torch.as_tensor(codes)
    codes = codes[:, None] if codes.ndim == 1 else codes
    draw = torch.Generator().manual_seed(seed)
    masks = (torch.rand(len(codes), 1, 4, 4, generator=draw) > 0.5).to(dtype)
    sure = torch.linspace(3, -1, len(codes), dtype=dtype).view(-1, 1, 1, 1)
    noise = torch.randn(masks.shape, generator=draw).to(dtype)
    logits = ((2 * masks - 1) * sure + noise + shift).requires_grad_()
    host = torch.randn(masks.shape, generator=draw).to(dtype)
    return Outcome(logits, masks, (), codes, sizes, host=lambda: host, **{"loss": LOSS, **more})


def told(n=64, seed=0, shift=2.0):
    """Latents (n, 3, 4, 4) whose first channel tells the group, and the groups."""
    latent = torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    groups = torch.arange(n) % 2
    latent[:, 0] += shift * groups[:, None, None]
    return latent, groups


def of_latent(latent, groups, **more):
    """Return an outcome of latents at one site, with nothing to segment."""
    empty = torch.zeros(len(groups), 1, 2, 2)
    return Outcome(empty, empty, (latent,), groups[:, None], (2,), **more)


def weights(module):
    return [value.detach().clone() for value in module.parameters()]


def same(one, other):
    return all(torch.equal(*pair) for pair in zip(one, other, strict=True))
