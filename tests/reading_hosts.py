"""Hosts whose masks and latents are known by hand, for cohorts of `cohorts.toy_cohort`.

There the blue channel draws the mask (above 2 inside, below 1 outside) and the red one tells the
group (1 to 3 for B, 0 to 1 for A).
"""

import torch
from torch import Tensor, nn

from apple_seg.host import Pipeline, Site, wrap
from cohorts import SPEC


class Pick(nn.Module):
    """Hand on one channel."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel

    def forward(self, images: Tensor) -> Tensor:
        return images[:, self.channel : self.channel + 1] * 1


class ReadingHost(nn.Module):
    """Reads the mask off `blue`, and listens to `red` next to not at all."""

    SITES = (Site("blue"), Site("red"))

    def __init__(self) -> None:
        super().__init__()
        self.blue, self.red = Pick(2), Pick(0)
        self.gain = nn.Parameter(torch.tensor(10.0))

    def forward(self, images: Tensor) -> Tensor:
        if images.max() > 50:
            raise RuntimeError("poisoned")
        return self.gain * (self.blue(images) - 1.5) + 1e-3 * self.red(images)


class TwoPathHost(nn.Module):
    """Reads the masks of group A off `first` and those of B off `second`."""

    SITES = (Site("first"), Site("second"))

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Pick(2), Pick(2)
        self.gain = nn.Parameter(torch.tensor(10.0))

    def forward(self, images: Tensor) -> Tensor:
        of_b = (images[:, :1].mean((2, 3), keepdim=True) > 1).to(images)
        first, second = self.first(images), self.second(images)
        read = (1 - of_b) * first + of_b * second
        return self.gain * (read + 0.01 * (first + second) - 1.5)  # a little, so that both are read


class HalvesHost(nn.Module):
    """Runs its encoder twice for an image: on the upper half, then on the lower one."""

    SITES = (Site("blue"),)

    def __init__(self) -> None:
        super().__init__()
        self.blue = Pick(2)
        self.gain = nn.Parameter(torch.tensor(10.0))

    def forward(self, images: Tensor) -> Tensor:
        halves = [self.blue(half) for half in images.chunk(2, dim=2)]
        return self.gain * (torch.cat(halves, dim=2) - 1.5)


def reading_pipeline(host: nn.Module) -> Pipeline:
    example = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 3
    return Pipeline(wrap(host, example, sites=host.SITES), SPEC, ["lesion"])
