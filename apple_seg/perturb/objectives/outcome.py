"""What one batch gave."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from apple_seg.perturb.objectives.pooling import pool

UNKNOWN = -1
"""As `apple_seg.data` has it; said anew, since `attach` comes by here and must not need pandas."""


class Attribute(NamedTuple):
    """One sensitive attribute of the cases of a batch, over all processes."""

    codes: Tensor
    """(N,), a place among `labels`; -1 where unknown."""

    groups: int
    """How many there are."""

    @property
    def known(self) -> Tensor:
        """(N,), whether a case is of a known group."""
        return self.codes != UNKNOWN


@dataclass(frozen=True)
class Outcome:
    """What one batch gave. What is gathered is of the whole batch, over all processes."""

    logits: Tensor
    """(N, K', *grid), every channel of the host."""

    masks: Tensor
    """(N, K, *grid), 0 or 1, a plane a class."""

    latents: tuple[Tensor, ...]
    """A site each, (N, C, *cells), perturbed."""

    groups: Tensor
    """(N, attributes) codes, -1 where unknown."""

    sizes: tuple[int, ...]
    """How many groups each attribute has."""

    numbers: Tensor | None = None
    """(N, numbers) attributes that are numbers, standardised; NaN where unknown."""

    host: Callable[[], Tensor] | None = None
    """Runs the host without perturbers; its logits (N, K', *grid), without gradients."""

    gather: Callable[[Tensor], Tensor] = lambda rows: rows
    """Rows (N, ...) to those of all processes, by rank; a gradient reaches one's own."""

    @cached_property
    def attributes(self) -> list[Attribute]:
        """The codes by each attribute, gathered; the first is the one that a fit is made for."""
        columns = self.gather(self.groups).unbind(1)
        return [Attribute(*one) for one in zip(columns, self.sizes, strict=True)]

    @cached_property
    def members(self) -> Tensor:
        """(N, groups of all attributes), gathered: whether a case is of a group; unknown of none.

        With several attributes a case is of a group of each.
        """
        columns = [
            one.codes[:, None] == torch.arange(one.groups, device=one.codes.device)
            for one in self.attributes
        ]
        return torch.cat(columns, 1)

    @cached_property
    def pooled(self) -> Tensor:
        """Each channel's mean and standard deviation, (N, 2 * channels of all sites), gathered."""
        return self.gather(pool(self.latents))

    @cached_property
    def every_number(self) -> Tensor:
        """`numbers`, gathered; (N, 0) where there are none."""
        numbers = self.groups.new_zeros(len(self.groups), 0).float()
        return self.gather(numbers if self.numbers is None else self.numbers)

    @cached_property
    def host_logits(self) -> Tensor:
        """(N, K', *grid), of the host as deployed: of this process's cases alone."""
        if self.host is None:
            raise ValueError("this outcome was made without a way to run the host")
        return self.host()
