"""A perturber at a small part of the host's cost."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from apple_seg.errors import ConfigError
from apple_seg.perturb.perturbers.layers import CONVOLUTIONS, GAIN, by_channel, statistics


class LeanPerturber(nn.Module):
    """`f + G(f)` on the latent at a small part of the host's cost, so that skips can have it too.

    Ours, not published: on all sites of a U-Net, forward and backward through the published shape
    take one to four times as long as through the whole U-Net; these take 4 to 15 %. G goes down to
    fewer channels, mixes neighbours there, and comes up again:

    - A kernel of 1 to half of the latent's channels, 8 at least and `rank` at most; a kernel of 3
      there; ReLU; a kernel of 1 up to the latent's channels. A quarter of the channels,
      dense or depthwise, saved 1 to 8 % of the U-Net's time and learned less.
    - Group norm with one group before the ReLU, so that what comes up is as large whatever the
      latent; without it, it learned more slowly. It knows no batch, so that a case is perturbed
      alike alone and among others, and it takes a latent of a single cell.
    - What comes up counts four times; see `GAIN`.
    - The last layer starts at zero, so that a new perturber is the identity, bit for bit.

    Stride is 1 everywhere, and no weight depends on the number of cells.

    Args:
        channels: Of the latent.
        cells: Its size, an axis each.
        rank: At most so many channels between the two kernels of 1; 1 at least. On all sites of a
            MONAI UNet of 16 to 256 channels, 64 makes 8.7 % of its 1.63 M weights, 40 makes 4.8 %,
            24 makes 2.6 %, 16 makes 1.6 %.
        context: Whether each channel also has a gain that depends on the whole image, without
            which a shallow skip is perturbed by what is near each cell alone. Another 1.4 % of
            such a U-Net's weights, and 3 % of its time.
    """

    def __init__(
        self, channels: int, *, cells: Sequence[int], rank: int = 24, context: bool = False
    ) -> None:
        super().__init__()
        if rank < 1:
            raise ConfigError(f"the rank of lean is 1 at least, got {rank}")
        self.config = {
            "channels": channels,
            "cells": list(cells),
            "rank": rank,
            "context": context,
        }
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
        self.context = _Context(channels) if context else None

    def forward(self, latent: Tensor) -> Tensor:
        """Perturb the latent (N, C, *cells), keeping its shape."""
        perturbed = torch.add(latent, self.last(self.hidden(latent)), alpha=GAIN)
        if self.context is None:
            return perturbed
        return torch.addcmul(perturbed, latent, self.context(latent))


class _Context(nn.Module):
    """A gain a channel, (N, C, 1, ...), from all channels' statistics over the whole image.

    After squeeze-and-excitation (Hu et al., arXiv 1709.01507), with standard deviations beside the
    means, and a gain that is added to 1 and starts at 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        few = min(max(channels // 4, 4), 16)
        self.hidden = nn.Sequential(
            nn.LayerNorm(2 * channels, elementwise_affine=False),
            nn.Linear(2 * channels, few),
            nn.ReLU(),
        )
        self.last = nn.Linear(few, channels)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, latent: Tensor) -> Tensor:
        gain: Tensor = self.last(self.hidden(torch.cat(statistics(latent), 1)))
        return by_channel(gain, latent)
