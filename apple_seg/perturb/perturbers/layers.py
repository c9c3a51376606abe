"""Layers by the number of axes of a latent, and what else several perturbers share."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

CONVOLUTIONS: Mapping[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS: Mapping[int, type[nn.Module]] = {
    1: nn.InstanceNorm1d,
    2: nn.InstanceNorm2d,
    3: nn.InstanceNorm3d,
}

GAIN = 4
"""How often that counts which low-rank perturbers bring up: each of its values sums 8 to 64 hidden
ones, where the published shape sums 288; at the same learning rate it would move more slowly."""


def statistics(latent: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation over cells of each channel, (N, C) each.

    The deviation is never 0: a millionth is added to the variance.
    """
    variance, mean = torch.var_mean(latent.flatten(2), 2, correction=0)
    return mean, (variance + 1e-6).sqrt()


def by_channel(values: Tensor, latent: Tensor) -> Tensor:
    """Bring a value a channel, (C,) or (N, C), to the axes of a latent (N, C, *cells)."""
    return values.reshape(*values.shape, *(1,) * (latent.ndim - 2))
