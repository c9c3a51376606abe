"""What is trained and shipped: modules that map a latent to one of the same shape."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_NORMS: dict[int, type[nn.Module]] = {
    1: nn.InstanceNorm1d,
    2: nn.InstanceNorm2d,
    3: nn.InstanceNorm3d,
}
_WIDE = 32
_GAIN = 4


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
        norm = _NORMS[dimensions] if max(cells) > 1 else None

        def layer(before: int, after: int, stride: int = 1) -> nn.Sequential:
            convolution = _CONVOLUTIONS[dimensions](before, after, 3, stride=stride, padding=1)
            normed = [norm(after, affine=True)] if norm is not None else []
            return nn.Sequential(convolution, *normed, nn.ReLU())

        self.encoder = nn.Sequential(
            layer(channels, 32), layer(32, 64, stride), layer(64, 128, stride)
        )
        self.bottleneck = nn.ModuleList(layer(128, 128) for _ in range(4))
        self.decoder = nn.ModuleList([layer(128, 64), layer(64, 32)])
        self.last = _CONVOLUTIONS[dimensions](32, channels, 3, padding=1)
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
    """

    def __init__(self, channels: int, *, cells: Sequence[int]) -> None:
        super().__init__()
        self.config = {"channels": channels, "cells": list(cells)}
        convolution = _CONVOLUTIONS[len(cells)]
        rank = min(max(channels // 2, 8), 64)
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


PERTURBERS: Mapping[str, Callable[..., nn.Module]] = {
    "residual": ResidualPerturber,
    "lean": LeanPerturber,
}
"""The perturbers that a file may name; each takes what its `config` holds."""


def describe_perturber(perturber: nn.Module) -> dict[str, Any]:
    """Return what `build_perturber` needs to make one of the same shape.

    Raises:
        TypeError: It is none of `PERTURBERS`.
    """
    for name, make in PERTURBERS.items():
        if make is type(perturber):
            return {"name": name, **perturber.config}  # type: ignore[dict-item]
    known = ", ".join(PERTURBERS)
    raise TypeError(f"a {type(perturber).__name__} cannot be saved; known perturbers are: {known}")


def build_perturber(description: Mapping[str, Any]) -> nn.Module:
    """Make a new perturber, the identity, from its description.

    Raises:
        ValueError: The description names none of `PERTURBERS`.
    """
    rest = dict(description)
    name = rest.pop("name", None)
    if name not in PERTURBERS:
        raise ValueError(f"no perturber called {name!r}; known are: {', '.join(PERTURBERS)}")
    return PERTURBERS[name](rest.pop("channels"), **rest)
