"""The adversary of a fit: it guesses the sensitive attribute from the perturbed latents."""

from collections.abc import Sequence

from torch import Tensor, nn


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
