"""Closed-form erasure from each channel's mean."""

from collections.abc import Callable, Sequence
from dataclasses import asdict

from torch import Tensor, nn

from apple_seg.perturb.perturbers.erasure import ErasureMap, ErasureSettings, Rows


class LeacePerturber(nn.Module):
    """`f - L R (f - c)` over the channels of each cell, such that no linear probe reads groups.

    LEACE (Belrose et al., arXiv 2306.03819) on channel means: the mean over cells is linear, so
    that what is taken out of every cell is taken out of the mean. A map of all values of a latent
    (256 x 64 x 64 for SAM) would need terabytes. Standard deviations are left to say what they
    say; see `statistics`.

    It is exact for the cases that it was solved on. For others there remains what the estimate of
    the groups' difference is off by, about its noise: with D channels and N cases, as much as a
    difference of `2 sqrt(D / N)` in standard deviations. Simulated with D = 512 and a difference
    that a fresh probe reads at AUC 0.61 to 0.67, 200 cases bring it to 0.60 to 0.64, 5,000 to 0.52
    to 0.54.

    Solved, not trained: the weights have no gradient. Before that it is the identity.

    Args:
        channels: Of the latent.
        cells: Its size, an axis each; no weight depends on it.
        rank: Room for so many directions; a fit needs one fewer than there are groups, of each
            attribute, and one for each number; twice as many with `ridge`.
        shrinkage: How far the covariance of the channels is drawn towards none, from 0 to 1, or
            "ledoit-wolf" to have that estimated. Changes how much else is changed, and not what
            remains of the groups.
        ridge: 0 for LEACE as published. Otherwise the difference of the groups is taken out once
            as it is and once as a ridge of so many variances of a channel leaves it, where it is
            less noisy. Ours: with 0.1 the simulation ends at 0.59 to 0.62 and at 0.50 to 0.53, and
            nowhere above what it is without; up to 0.15 more of the latents' variance is changed.
    """

    def __init__(
        self,
        channels: int,
        *,
        cells: Sequence[int],
        rank: int = 8,
        shrinkage: float | str = "ledoit-wolf",
        ridge: float = 0.0,
    ) -> None:
        super().__init__()
        settings = ErasureSettings(rank=rank, shrinkage=shrinkage, ridge=ridge)
        self.config = {"channels": channels, "cells": list(cells), **asdict(settings)}
        self.erasure = ErasureMap(channels, settings)

    def forward(self, latent: Tensor) -> Tensor:
        """Perturb the latent (N, C, *cells), keeping its shape."""
        change: Tensor = self.erasure(latent.flatten(2))
        return latent + change.view_as(latent)

    def solve(self, rows: Callable[[], Rows]) -> None:
        """Take out what is known of the train cases."""
        found = rows()
        means, _deviations = found.pooled.chunk(2, 1)
        self.erasure.solve(means, found.concepts)
