"""Closed-form erasure from each channel's mean and standard deviation."""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
from torch import Tensor, nn

from apple_seg.perturb.perturbers.erasure import ErasureMap, ErasureSettings, Rows
from apple_seg.perturb.perturbers.layers import by_channel, statistics

_LEAST, _MOST = 0.1, 10.0


class StatisticsPerturber(nn.Module):
    """`(f - mean) * sd' / sd + mean'`: each case is moved to statistics that tell no group.

    Ours: LEACE (see `leace`, also for what remains) on a case's statistics, the mean and the
    standard deviation over cells of every channel at once: `(mean', sd') = s - L R (s - c)` with
    `s = (mean, sd)`. A probe of the latent reads those, and what `leace` does to means leaves a
    group in standard deviations. This map depends on the case, within which it is a scale and a
    shift a channel.

    Plain standard deviations, not their logarithms, since the probe reads plain ones. `sd' / sd` is
    kept between 0.1 and 10, in case `sd'` came out as nothing, or a channel has almost none. A
    limit: where a channel is the same in all cells of a case (after a ReLU, 0) there is nothing to
    scale, and a group that such channels tell remains; a site before the ReLU has no such channels.

    Solved, not trained: the weights have no gradient. Before that it is the identity.

    Args:
        channels: Of the latent.
        cells: Its size, an axis each; no weight depends on it.
        rank: As `leace` has it.
        shrinkage: As `leace` has it.
        ridge: As `leace` has it.
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
        self.erasure = ErasureMap(2 * channels, settings)

    def forward(self, latent: Tensor) -> Tensor:
        """Perturb the latent (N, C, *cells), keeping its shape."""
        mean, deviation = statistics(latent)
        pooled = torch.cat([mean, deviation], 1)
        shift, wider = self.erasure(pooled[..., None])[..., 0].chunk(2, 1)
        gain = (wider / deviation).clamp(_LEAST - 1, _MOST - 1)
        centred = latent - by_channel(mean, latent)
        return torch.addcmul(latent + by_channel(shift, latent), centred, by_channel(gain, latent))

    def solve(self, rows: Callable[[], Rows]) -> None:
        """Take out what is known of the train cases."""
        found = rows()
        self.erasure.solve(found.pooled, found.concepts)
