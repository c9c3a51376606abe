"""A perturber for few cases: a scale and a shift a channel."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from apple_seg.perturb.perturbers.layers import by_channel


class AffinePerturber(nn.Module):
    """`(1 + gain) * f + shift` on the latent, a number of each a channel.

    Ours as a perturber of latents; as a small set of weights to adapt a whole network by, it is
    known from feature-wise modulation (Perez et al., arXiv 1709.07871). A site of 256 channels has
    512 of them: 50 to 100 cases are enough to fit so few.

    Held as the difference from 1, so that weight decay pulls towards the host as deployed.

    Args:
        channels: Of the latent.
        cells: Its size, an axis each; no weight depends on it.
    """

    def __init__(self, channels: int, *, cells: Sequence[int]) -> None:
        super().__init__()
        self.config = {"channels": channels, "cells": list(cells)}
        self.gain = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, latent: Tensor) -> Tensor:
        """Perturb the latent (N, C, *cells), keeping its shape."""
        gain, shift = (by_channel(one, latent) for one in (self.gain, self.shift))
        return torch.addcmul(latent + shift, latent, gain)
