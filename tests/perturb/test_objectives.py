"""The segmentation loss and the pooling of latents, by hand."""

import math

import pytest
import torch

from apple_seg.perturb import SegmentationLoss, pool


def test_segmentation_loss_by_hand():
    """Logits 0 give BCE log 2 and, with half the pixels true, soft Dice 2*1/(2+2)."""
    objective = SegmentationLoss("sigmoid", [0])
    masks = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    loss = objective(torch.zeros(1, 1, 2, 2), masks)
    dice = 1 - (2 * 1 + 1e-5) / (2 + 2 + 1e-5)  # MONAI smooths both by 1e-5
    assert loss.tolist() == pytest.approx([math.log(2) + dice])


def test_softmax_loss_reads_background_from_channel_zero():
    objective = SegmentationLoss("softmax", [1, 2])
    masks = torch.zeros(1, 2, 1, 3)
    masks[0, 0, 0, 1] = masks[0, 1, 0, 2] = 1
    right = torch.full((1, 3, 1, 3), -20.0)
    for cell, channel in enumerate((0, 1, 2)):
        right[0, channel, 0, cell] = 20.0
    assert objective(right, masks).item() == pytest.approx(0, abs=1e-4)
    assert objective(right.flip(1), masks).item() > 1


def test_softmax_background_may_be_another_channel():
    objective = SegmentationLoss("softmax", [0], background=1)
    masks = torch.tensor([[[[1.0, 0.0]]]])
    right = torch.tensor([[[[20.0, -20.0]], [[-20.0, 20.0]]]])
    assert objective(right, masks).item() == pytest.approx(0, abs=1e-4)
    assert objective(right.flip(1), masks).item() > 1


def test_pooling_is_mean_and_deviation_of_every_channel_of_every_site():
    latents = [torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2, 2)]
    pooled = pool(latents)
    assert pooled.shape == (2, 16)
    torch.testing.assert_close(pooled[:, :3], latents[0].mean((2, 3)))
    deviation = latents[1].flatten(2).std(-1, unbiased=False)
    torch.testing.assert_close(pooled[:, 11:], deviation, rtol=1e-3, atol=1e-3)
