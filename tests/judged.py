"""Batches with losses that differ by case, for weightings and terms of losses."""

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
