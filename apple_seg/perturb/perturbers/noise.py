"""A control that nothing is fitted of: a random residual of a stated size."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from apple_seg.errors import ConfigError
from apple_seg.perturb.perturbers.erasure import Rows


class RandomPerturber(nn.Module):
    """`f + norm * rms(f) / rms(r) * r` with `r = U relu(group_norm(D f))`, D and U random.

    What does a change of this size bring that knows neither masks nor groups? `r` mixes the
    channels of each cell through a low rank; its size is that share of the latent's in every case,
    both as root mean squares over channels and cells. D and U are drawn when it is made, by
    torch's seed (a fit sets its own), and kept in the file. Nothing of it is trained; until it is
    solved, which only sets its size, it is the identity.

    Args:
        channels: Of the latent.
        cells: Its size, an axis each; no weight depends on it.
        norm: Of the residual, as a share of the latent's, above 0.
    """

    def __init__(self, channels: int, *, cells: Sequence[int], norm: float = 0.1) -> None:
        super().__init__()
        if not 0 < norm < math.inf:
            raise ConfigError(f"the norm of random is above 0, got {norm}")
        self.config = {"channels": channels, "cells": list(cells), "norm": norm}
        self.norm = norm
        rank = min(max(channels // 2, 8), 64)
        self.register_buffer("down", torch.randn(rank, channels) / channels**0.5)
        self.register_buffer("up", torch.randn(channels, rank) / rank**0.5)
        # A parameter, so that replay's check may change it, and a host that moves takes all along.
        self.size = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, latent: Tensor) -> Tensor:
        """Perturb the latent (N, C, *cells), keeping its shape."""
        down, up = self.buffers()
        hidden = functional.group_norm(down @ latent.flatten(2), 1).relu()
        residual = (up @ hidden).view_as(latent)
        return latent + self.size * _rms(latent) / _rms(residual) * residual

    @torch.no_grad()
    def solve(self, _rows: Callable[[], Rows]) -> None:
        """Set its size; no case is looked at."""
        self.size.fill_(self.norm)


def _rms(latent: Tensor) -> Tensor:
    """Return the root mean square of each case, (N, 1, ...)."""
    axes = tuple(range(1, latent.ndim))
    return latent.square().mean(axes, keepdim=True).clamp_min(1e-12).sqrt()
