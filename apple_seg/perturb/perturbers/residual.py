"""The published perturber."""

from collections.abc import Sequence

from torch import Tensor, nn

from apple_seg.perturb.perturbers.layers import CONVOLUTIONS, NORMS

_WIDE = 32


class ResidualPerturber(nn.Module):
    """`f + G(f)` on the latent, G of the published shape (Xu et al. 2024, arXiv 2403.05114).

    G has three encoder layers of 32, 64 and 128 channels, four residual bottleneck layers of 128,
    and three decoder layers of 64, 32 and the latent's channels. The rest is not published, and
    decided here:

    - Kernels of 3. Stride 1 on latents of fewer than 32 cells a side (three strides of 2 would
      take a latent of 8x8 to a single cell). On larger ones, which only skips have, the second
      and third encoder layer have stride 2 and the first two decoder layers upsample, without
      which G at 64x64 cells costs more than the whole of most hosts.
    - Instance norm with affine parameters before each ReLU: it knows no batch, so that a case
      is perturbed alike alone and among others. A latent of a single cell has none.
    - The last layer starts at zero, so that a new perturber is the identity, bit for bit.
    """

    def __init__(self, channels: int, *, cells: Sequence[int]) -> None:
        super().__init__()
        self.config = {"channels": channels, "cells": list(cells)}
        dimensions = len(cells)
        stride = 2 if min(cells) >= _WIDE else 1
        norm = NORMS[dimensions] if max(cells) > 1 else None

        def layer(before: int, after: int, stride: int = 1) -> nn.Sequential:
            convolution = CONVOLUTIONS[dimensions](before, after, 3, stride=stride, padding=1)
            normed = [norm(after, affine=True)] if norm is not None else []
            return nn.Sequential(convolution, *normed, nn.ReLU())

        self.encoder = nn.Sequential(
            layer(channels, 32), layer(32, 64, stride), layer(64, 128, stride)
        )
        self.bottleneck = nn.ModuleList(layer(128, 128) for _ in range(4))
        self.decoder = nn.ModuleList([layer(128, 64), layer(64, 32)])
        self.last = CONVOLUTIONS[dimensions](32, channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, latent: Tensor) -> Tensor:
        """Perturb the latent (N, C, *cells), keeping its shape."""
        sizes, hidden = [], latent
        for layer in self.encoder:
            sizes.append(hidden.shape[2:])
            hidden = layer(hidden)
        for layer in self.bottleneck:
            hidden = hidden + layer(hidden)
        for layer, size in zip(self.decoder, (sizes[2], sizes[1]), strict=True):
            hidden = layer(hidden)
            if hidden.shape[2:] != size:
                hidden = nn.functional.interpolate(hidden, size, mode="nearest")
        perturbation: Tensor = self.last(hidden)
        return latent + perturbation
