"""What one batch gave."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from apple_seg.perturb.objectives.pooling import pool
from apple_seg.perturb.objectives.segmentation import SegmentationLoss

Target = Literal["masks", "host", "consensus"]
"""What the perturbed masks are to be like: the true ones, those of the host as deployed, or
where a true one is missing the mean of the host's views."""

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

    loss: SegmentationLoss | None = None
    """What the fit has as the loss of each case; an `Objective` puts in its own."""

    target: Target = "masks"
    """What that loss is taken against."""

    whole: tuple[int, ...] | None = None
    """The host's grid, where logits and masks are only its part that images cover, from the
    origin on; latents are of the whole."""

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
        return _members(self.attributes)

    @cached_property
    def own_members(self) -> Tensor:
        """The same of this process's cases alone."""
        columns = self.groups.unbind(1)
        return _members([Attribute(*one) for one in zip(columns, self.sizes, strict=True)])

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

    @cached_property
    def losses(self) -> Tensor:
        """(N,), gathered: the loss of each case."""
        return self.gather(self._losses_of(self.logits))

    @cached_property
    def host_losses(self) -> Tensor:
        """(N,), gathered: the loss of each case under the host as deployed."""
        return self.gather(self._losses_of(self.host_logits))

    @cached_property
    def agreement(self) -> Tensor:
        """(N,), gathered: how little each case's masks agree with those of the host as deployed."""
        if self.loss is not None and self.target == "host":
            return self.losses
        return self.gather(self._loss.agreement(self.logits, self.host_logits))

    def dice_losses(self, scale: Tensor | None = None) -> Tensor:
        """Return the Dice part (N,), gathered, against the masks.

        Args:
            scale: (N,) of this process's cases, put on the probabilities.
        """
        return self.gather(self._loss.dice(self.logits, self.masks, scale))

    def _losses_of(self, logits: Tensor) -> Tensor:
        if self.target != "host":
            return self._loss(logits, self.masks)
        return self._loss.agreement(logits, self.host_logits)

    @property
    def _loss(self) -> SegmentationLoss:
        if self.loss is None:
            raise ValueError("this outcome was made without a loss of each case")
        return self.loss


def _members(attributes: Sequence[Attribute]) -> Tensor:
    """Return (N, groups of all attributes), whether a case is of a group."""
    columns = [
        one.codes[:, None] == torch.arange(one.groups, device=one.codes.device)
        for one in attributes
    ]
    return torch.cat(columns, 1)
