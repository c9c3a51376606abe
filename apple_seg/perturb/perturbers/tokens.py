"""A perturber for what transformers give: it mixes channels, and lets cells be."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from apple_seg.errors import ConfigError
from apple_seg.perturb.perturbers.layers import CONVOLUTIONS, GAIN


class TokenPerturber(nn.Module):
    """`f + 4 B relu(A norm(f))` at each cell by itself, as adapters in transformers are.

    After Houlsby et al., arXiv 1902.00751, and for images AdaptFormer, arXiv 2205.13535. A
    transformer's tokens have seen the whole image already, so there are no neighbours to mix, and
    the number and order of cells play no part: (N, C, T) is taken as well as (N, C, h, w), which
    SAM's image encoder gives. Channels are axis 1.

    Decided here: the norm is by the root mean square over the channels of a cell, without weights
    (tokens come from a layer norm, whose scale a low-rank map should not have to learn); what
    comes up counts four times, as in `lean`; `B` starts at zero, so that a new perturber is the
    identity, bit for bit.

    Args:
        channels: Of the latent.
        cells: Its size, an axis each; no weight depends on it.
        rank: Channels between `A` and `B`, 1 at least; not more than the latent has, or 8.
    """

    def __init__(self, channels: int, *, cells: Sequence[int], rank: int = 64) -> None:
        super().__init__()
        if rank < 1:
            raise ConfigError(f"the rank of tokens is 1 at least, got {rank}")
        self.config = {"channels": channels, "cells": list(cells), "rank": rank}
        convolution = CONVOLUTIONS[len(cells)]
        rank = min(max(channels, 8), rank)
        self.down = convolution(channels, rank, 1)
        self.last = convolution(rank, channels, 1)
        nn.init.zeros_(self.last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, latent: Tensor) -> Tensor:
        """Perturb the latent (N, C, *cells), keeping its shape."""
        normed = latent * (latent.square().mean(1, keepdim=True) + 1e-6).rsqrt()
        return torch.add(latent, self.last(self.down(normed).relu()), alpha=GAIN)
