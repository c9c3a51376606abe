"""The adversary of a fit: it guesses the sensitive attribute from the perturbed latents."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from apple_seg.perturb.objectives.pooling import batch_statistics


class Discriminator(nn.Module):
    """Three Linear-BatchNorm blocks on pooled latents (Xu et al. 2024), joint over all sites.

    Not published, and decided here: a latent is pooled to each channel's mean and standard
    deviation over its cells; hidden widths are 128 and 64; leaky ReLUs stand between the blocks.
    BatchNorm needs two cases at least. Taken literally, as here, the last block's BatchNorm
    scales the guesses by what a batch spreads: the discriminator is then never quite unsure,
    however little the latents tell, and each case's gradient depends a little on its batch.

    Args:
        channels: Of the latent at each site.
        num_groups: Of all attributes.
        numbers: How many numbers are guessed as well, by a linear head beside the last block.
        last_norm: Whether the last block has its BatchNorm. Without it, it can be unsure.
    """

    def __init__(
        self, channels: Sequence[int], num_groups: int, *, numbers: int = 0, last_norm: bool = True
    ) -> None:
        super().__init__()
        blocks = [
            nn.Linear(2 * sum(channels), 128),
            nn.BatchNorm1d(128),
            nn.LeakyReLU(0.2),
            nn.Linear(128, 64),
            nn.BatchNorm1d(64),
            nn.LeakyReLU(0.2),
            nn.Linear(64, num_groups),
        ]
        self.blocks = nn.Sequential(*blocks, *([nn.BatchNorm1d(num_groups)] if last_norm else []))
        self.numbers = nn.Linear(64, numbers) if numbers else None

    def forward(self, pooled: Tensor) -> Tensor:
        """Map pooled latents (N, 2 * channels of all sites) to group logits and numbers (N, A + P).

        A are the groups, P the numbers.
        """
        hidden = self.blocks[:6](pooled)
        logits: Tensor = self.blocks[6:](hidden)
        return logits if self.numbers is None else torch.cat([logits, self.numbers(hidden)], 1)


class CellDiscriminator(nn.Module):
    """Guesses from each cell of one site's latent by 1x1 kernels; the mean over cells counts.

    It reads what a mean and a deviation over cells do not keep: which channels go together where.
    Decided here: widths of 64 and 32, leaky ReLUs, and no BatchNorm, since cells of one case are
    not cases; the latent is instead standardised by the batch.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.kernels = nn.Sequential(
            nn.Conv1d(channels, 64, 1),
            nn.LeakyReLU(0.2),
            nn.Conv1d(64, 32, 1),
            nn.LeakyReLU(0.2),
            nn.Conv1d(32, outputs, 1),
        )

    def forward(self, latent: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """Map a latent (N, C, *cells), standardised by (C,) and (C,), to guesses (N, outputs)."""
        cells = latent.float().flatten(2)
        guesses: Tensor = self.kernels((cells - mean[:, None]) / deviation[:, None])
        return guesses.mean(2)


class Seen(NamedTuple):
    """What discriminators are shown of a batch."""

    pooled: Tensor
    """(n, 2 * channels of all sites), of the cases that count, over all processes."""

    latents: Sequence[Tensor]
    """A site each, (N, C, *cells), of this process's cases."""

    rows: Tensor
    """Which of all processes' cases count, booleans; n of them do."""

    gather: Callable[[Tensor], Tensor]
    """Rows of this process to those of all."""


class JointDiscriminator(nn.Module):
    """A pooled discriminator, with one on the cells of each site beside it where `spatial`.

    Each has a vote: the joint guess is the mean of their logits (and numbers).
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_groups: int,
        *,
        numbers: int = 0,
        spatial: bool = False,
        last_norm: bool = True,
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.pooled = Discriminator(channels, num_groups, numbers=numbers, last_norm=last_norm)
        sites = self.channels if spatial else ()
        self.cells = nn.ModuleList(CellDiscriminator(one, num_groups + numbers) for one in sites)

    def forward(self, seen: Seen) -> Tensor:
        """Map what is seen to guesses (n, A + P)."""
        guesses: Tensor = self.pooled(seen.pooled)
        if not len(self.cells):
            return guesses
        # Detached: otherwise a case's gradient would depend on cases that another process has.
        spreads = batch_statistics(seen.pooled.detach(), self.channels)
        votes = [
            seen.gather(one(latent, *spread))[seen.rows]
            for one, latent, spread in zip(self.cells, seen.latents, spreads, strict=True)
        ]
        return torch.stack([guesses, *votes]).mean(0)

    def sum_gradients(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Add up the gradients of the kernels: each process has those of its own cases."""
        for value in self.cells.parameters():
            if value.grad is not None:
                value.grad = gather(value.grad[None]).sum(0)
