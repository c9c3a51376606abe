"""A perturber at a small part of the host's cost."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from apple_seg.perturb.perturbers.layers import CONVOLUTIONS

_GAIN = 4


class LeanPerturber(nn.Module):
    """`f + G(f)` on the latent at a small part of the host's cost, so that skips can have it too.

    Ours, not published: on all sites of a U-Net, forward and backward through the published shape
    take one to four times as long as through the whole U-Net; these take 4 to 15 %. G goes down to
    fewer channels, mixes neighbours there, and comes up again:

    - A kernel of 1 to half of the latent's channels, 8 at least and 64 at most; a kernel of 3
      there; ReLU; a kernel of 1 up to the latent's channels. A quarter of the channels,
      dense or depthwise, saved 1 to 8 % of the U-Net's time and learned less.
    - Group norm with one group before the ReLU, so that what comes up is as large whatever the
      latent; without it, it learned more slowly. It knows no batch, so that a case is perturbed
      alike alone and among others, and it takes a latent of a single cell.
    - What comes up counts four times. Each of its values sums 8 to 64 hidden ones, where the
      published shape sums 288; at the same learning rate it would move more slowly.
    - The last layer starts at zero, so that a new perturber is the identity, bit for bit.

    Stride is 1 everywhere, and no weight depends on the number of cells.

    Args:
        channels: Of the latent.
        cells: Its size, an axis each.
        rank: At most so many channels between the two kernels of 1.
    """

    def __init__(self, channels: int, *, cells: Sequence[int], rank: int = 64) -> None:
        super().__init__()
        self.config = {"channels": channels, "cells": list(cells), "rank": rank}
        convolution = CONVOLUTIONS[len(cells)]
        rank = min(max(channels // 2, 8), rank)
        self.hidden = nn.Sequential(
            convolution(channels, rank, 1),
            convolution(rank, rank, 3, padding=1),
            nn.GroupNorm(1, rank),
            nn.ReLU(),
        )
        self.last = convolution(rank, channels, 1)
        nn.init.zeros_(self.last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, latent: Tensor) -> Tensor:
        """Perturb the latent (N, C, *cells), keeping its shape."""
        return torch.add(latent, self.last(self.hidden(latent)), alpha=_GAIN)
