"""Erasure of every image's own statistics, whatever they tell."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from apple_seg.perturb.perturbers.erasure import Rows
from apple_seg.perturb.perturbers.layers import by_channel


class StandardisePerturber(nn.Module):
    """`(f - mean) / sd * sd0 + mean0`: each channel has the same statistics in every case.

    Ours: instance normalisation (Ulyanov et al., arXiv 1607.08022), to the train cases' average
    statistics in place of learned ones. A probe of means and standard deviations over cells, of
    whatever kind, has nothing left to read, of any attribute, known or not: where LEACE takes out
    of them what is linear in one attribute, this leaves none of them. What is told by the pattern
    within an image, by the sizes of lesions say, is not touched.

    What the decoder reads in them is lost as well; the price in Dice is for validation to say. A
    limit: a channel that is the same in all cells of a case (after a ReLU, 0) has nothing to scale;
    its standard deviation stays 0, and a group that such channels tell remains.

    Solved, not trained: the weights have no gradient. Before that it is the identity.

    Args:
        channels: Of the latent.
        cells: Its size, an axis each; no weight depends on it. Of a single cell nothing is left.
    """

    def __init__(self, channels: int, *, cells: Sequence[int]) -> None:
        super().__init__()
        self.config = {"channels": channels, "cells": list(cells)}
        # Parameters, so that replay's check may change them, and a host that moves takes all along.
        self.mean = nn.Parameter(torch.zeros(channels), requires_grad=False)
        self.deviation = nn.Parameter(torch.zeros(channels), requires_grad=False)
        self.share = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, latent: Tensor) -> Tensor:
        """Perturb the latent (N, C, *cells), keeping its shape."""
        flat = latent.flatten(2)
        centred = flat - flat.mean(2, keepdim=True)
        # Nothing is added to the variance, as norm layers do: what that adds would tell it.
        standard = functional.normalize(centred, dim=2).view_as(latent) * flat.shape[2] ** 0.5
        moved = standard * by_channel(self.deviation, latent) + by_channel(self.mean, latent)
        return torch.lerp(latent, moved, self.share)

    @torch.no_grad()
    def solve(self, rows: Callable[[], Rows]) -> None:
        """Take the train cases' average statistics."""
        mean, deviation = rows().pooled.mean(0).chunk(2)
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)
        self.share.fill_(1.0)
