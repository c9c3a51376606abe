"""The adversary of a fit: it guesses the sensitive attribute from the perturbed latents."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Discriminator(nn.Module):
    """Three Linear-BatchNorm blocks on pooled latents (Xu et al. 2024), joint over all sites.

    Not published, and decided here: a latent is pooled to each channel's mean and standard
    deviation over its cells; hidden widths are 128 and 64; leaky ReLUs stand between the blocks.
    BatchNorm needs two cases at least. Taken literally, as here, the last block's BatchNorm
    scales the guesses by what a batch spreads: the discriminator is then never quite unsure,
    however little the latents tell, and each case's gradient depends a little on its batch.
    """

    def __init__(self, channels: Sequence[int], num_groups: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            nn.Linear(2 * sum(channels), 128),
            nn.BatchNorm1d(128),
            nn.LeakyReLU(0.2),
            nn.Linear(128, 64),
            nn.BatchNorm1d(64),
            nn.LeakyReLU(0.2),
            nn.Linear(64, num_groups),
            nn.BatchNorm1d(num_groups),
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """Map pooled latents (N, 2 * channels of all sites) to group logits (N, A)."""
        logits: Tensor = self.blocks(pooled)
        return logits


def pool(latents: Sequence[Tensor]) -> Tensor:
    """Return each channel's mean and standard deviation over cells, (N, 2 * all channels)."""
    pooled: list[Tensor] = [_MeanAndDeviation.apply(latent.float()) for latent in latents]
    return torch.cat(pooled, 1)


class _MeanAndDeviation(torch.autograd.Function):
    """Mean and standard deviation over cells, (N, 2C), in one pass each way.

    `Tensor.var` and its gradient cost an adversary's step more than the perturbers do; on latents
    of 64x64 cells this is 3 to 6 times as fast.
    """

    @staticmethod
    def forward(ctx: Any, latent: Tensor) -> Tensor:
        """Pool a latent (N, C, *cells)."""
        cells = tuple(range(2, latent.ndim))
        mean = latent.mean(cells, keepdim=True)
        norm = torch.linalg.vector_norm(latent - mean, dim=cells, keepdim=True)
        deviation = (norm.square() / latent[0, 0].numel() + 1e-6).sqrt()
        ctx.save_for_backward(latent, mean, deviation)
        return torch.cat([mean, deviation], 1).flatten(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Return the gradient of the latent."""
        latent, mean, deviation = ctx.saved_tensors
        of_mean, of_deviation = gradient.view(len(gradient), 2, *deviation.shape[1:]).unbind(1)
        cells = latent[0, 0].numel()
        slope = of_deviation / (cells * deviation)
        # In place: taking memory for another tensor of this size costs more than the arithmetic.
        centred: Tensor = latent - mean
        return centred.mul_(slope).add_(of_mean / cells)
