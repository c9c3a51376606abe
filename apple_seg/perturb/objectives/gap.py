"""The difference between groups itself as a loss, such that levelling down never pays."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from apple_seg.errors import ConfigError
from apple_seg.perturb.objectives.outcome import Outcome
from apple_seg.perturb.objectives.weighting import check_groups, group_losses

DEVIATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "squared": torch.square,
    "absolute": torch.abs,
}


class Gap(nn.Module):
    """How much worse the groups' mean losses are than that of the group served best.

    `sum over attributes and their groups g of (M_g - min_b M_b)^2`, or of the absolute values. The
    best group's mean is a constant in it, and its own deviation is 0: no gradient ever makes a
    group worse. In a batch of 32 a group's mean is off by more than groups differ, so M is a
    running mean over batches: `M_g <- memory * M_g + (1 - memory) * L_g`, L_g being the batch's
    mean loss of the group's cases. It only says how far to go; the gradient is that of L_g, in
    full: `2 * (M_g - min_b M_b) * dL_g`. Groups without cases in the batch add no gradient,
    though one of them may be the best; unknown cases are in no group.

    No paper has it in this form: penalised differences of groups' losses are common, the detached
    best group and the running mean are decided here.

    Args:
        channels: Of the latent at each site; of no use here.
        sizes: How many groups each attribute has.
        numbers: Of no use here.
        deviation: "squared", or "absolute", whose gradient does not fade as the groups draw level.
        memory: From 0, the batch alone, to below 1.

    Raises:
        ConfigError: There is no attribute, or an option is out of its range.
    """

    means: Tensor
    seen: Tensor

    def __init__(
        self,
        channels: Sequence[int],
        sizes: Sequence[int],
        numbers: int = 0,
        *,
        deviation: str = "squared",
        memory: float = 0.9,
    ) -> None:
        super().__init__()
        check_groups("gap", sizes)
        if deviation not in DEVIATIONS or not 0 <= memory < 1:
            raise ConfigError(
                f"gap has a deviation ({', '.join(DEVIATIONS)}) and a memory from 0 to below 1; "
                f"got deviation={deviation!r}, memory={memory}"
            )
        self.deviation = DEVIATIONS[deviation]
        self.memory = memory
        self.sizes = list(sizes)
        self.register_buffer("means", torch.zeros(sum(sizes)))
        self.register_buffer("seen", torch.zeros(sum(sizes), dtype=torch.bool))

    def observe(self, outcome: Outcome) -> dict[str, float]:
        """Move the running means; return the largest deviation of a group from the best."""
        found = group_losses(outcome.losses.detach(), outcome.members)
        moved = self.memory * self.means + (1 - self.memory) * found.means
        started = torch.where(self.seen, moved, found.means)
        self.means = torch.where(found.present, started, self.means)
        self.seen = self.seen | found.present
        deviations = self._deviations(self.means, self.seen)
        return {"largest_gap": max(float(one.max()) for one in deviations)} if deviations else {}

    def forward(self, outcome: Outcome) -> Tensor | None:
        """Return the sum of deviations; None where no attribute has two groups to compare."""
        found = group_losses(outcome.losses, outcome.members)
        running = torch.where(self.seen, self.means, found.means.detach())
        # The value of the running mean with the gradient of the batch's.
        here = running + found.means - found.means.detach()
        deviations = self._deviations(here, self.seen | found.present)
        if not deviations:
            return None
        return torch.stack([self.deviation(one).sum() for one in deviations]).sum()

    def _deviations(self, means: Tensor, present: Tensor) -> list[Tensor]:
        """Return those of each attribute of which two groups are there."""
        parts = zip(means.split(self.sizes), present.split(self.sizes), strict=True)
        there = [mean[known] for mean, known in parts]
        return [mean - mean.detach().min() for mean in there if len(mean) > 1]
