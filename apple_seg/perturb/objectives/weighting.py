"""Who counts how much: the losses of a batch's cases as one number."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from apple_seg.errors import ConfigError
from apple_seg.perturb.objectives.objective import Weighting
from apple_seg.perturb.objectives.outcome import Outcome


def equal(_counts: Sequence[int]) -> Weighting:
    """Count every case alike."""

    def mean(losses: Tensor, _outcome: Outcome) -> Tensor:
        return losses.mean()

    return mean


def balanced(counts: Sequence[int]) -> Weighting:
    """Count every group alike: the mean of the groups' mean losses.

    Of the groups of all attributes that the batch has cases of. Cases of unknown group count as in
    `equal`; see `weighted`.

    Raises:
        ConfigError: There is no attribute.
    """
    check_groups("balanced", counts)

    def mean(losses: Tensor, outcome: Outcome) -> Tensor:
        return weighted(losses, outcome.members, losses.new_ones(len(counts)))

    return mean


class WorstGroup(nn.Module):
    """Count the groups with large losses ever more: group DRO (Sagawa et al. 2020, 1911.08731).

    Before each step `q_g <- q_g * exp(step * (L_g + adjustment / sqrt(n_g)))`, normalised; the loss
    is `sum_g q_g * L_g`, of the groups of all attributes. L_g is the batch's mean loss of a group,
    n_g the number of its cases that are fitted on: small groups generalise worse, and the
    adjustment (the paper's C) counts on it. Cases of unknown group count as in `equal`.

    Decided here: a group without cases in the batch keeps its q, the present ones share theirs,
    and are renormalised for the loss; the step, since the paper's 0.01 is for far longer training.

    Args:
        counts: The cases of each group that are fitted on.
        step: Of q, 0 or more; 0 is `balanced`.
        adjustment: 0 or more; the paper tries 0 to 5, for cross-entropies.

    Raises:
        ConfigError: There is no attribute, or an option is out of its range.
    """

    log_weights: Tensor
    handicap: Tensor

    def __init__(
        self, counts: Sequence[int], *, step: float = 0.1, adjustment: float = 0.0
    ) -> None:
        super().__init__()
        check_groups("worst-group", counts)
        if not (0 <= step < math.inf and 0 <= adjustment < math.inf):
            raise ConfigError(
                "step and adjustment of worst-group are finite and not negative; got "
                f"step={step}, adjustment={adjustment}"
            )
        self.step = step
        # As logarithms: a group that has long been served well can always come back.
        even = torch.full((len(counts),), -math.log(len(counts)))
        self.register_buffer("log_weights", even)
        fitted = torch.tensor([max(count, 1) for count in counts])
        self.register_buffer("handicap", adjustment / fitted.sqrt(), persistent=False)

    @property
    def weights(self) -> Tensor:
        """The paper's q (G,), which adds up to 1."""
        return self.log_weights.exp()

    def observe(self, outcome: Outcome) -> dict[str, float]:
        """Move the weights; return them, by the place of the group."""
        found = group_losses(outcome.losses.detach(), outcome.members)
        present, old = found.present, self.log_weights
        if present.any():
            moved = (old + self.step * (found.means + self.handicap))[present]
            shared = moved - moved.logsumexp(0) + old[present].logsumexp(0)
            self.log_weights = old.masked_scatter(present, shared)
        return {f"group_weight_{place}": q for place, q in enumerate(self.weights.tolist())}

    def forward(self, losses: Tensor, outcome: Outcome) -> Tensor:
        """Return the weighted loss, with the weights as they are."""
        return weighted(losses, outcome.members, self.weights)


def febs(counts: Sequence[int], *, gamma: float = 1.0) -> Weighting:
    """Scale what is predicted for each group by its error: FEBS (FairSeg, arXiv 2311.02189).

    `w_a = tanh((min_b L_b / L_a)^gamma)`, with L the mean Dice loss of a group in the batch, and
    the probabilities p of each case are then `w_a * p` in the Dice loss: its error bound. So it is
    in the authors' code; the weights are constants there, and here.

    Worth knowing: a group served worse gets a *smaller* w. Its Dice loss is thereby larger, but the
    gradient of the loss is not; it is tilted towards drawing more. Multiplying losses by w instead,
    as FEBS is often retold, would make the group served worse count less.

    Decided here: L is by cases, as everywhere, not over the pixels of all of a group; a group
    without cases in the batch plays no part (the code's min is then 0, and so are all weights); a
    case of several attributes has the mean of its groups' w, one of no known group tanh(1), which
    is that of the group served best.

    Args:
        counts: The cases of each group that are fitted on.
        gamma: 0 or more; 0 scales all alike. 1 is the default of the authors' code.

    Raises:
        ConfigError: There is no attribute, or gamma is negative or not finite.
    """
    check_groups("febs", counts)
    if not 0 <= gamma < math.inf:
        raise ConfigError(f"gamma of febs is finite and not negative, got {gamma}")

    def scaled(losses: Tensor, outcome: Outcome) -> Tensor:
        dice = outcome.dice_losses()
        found = group_losses(dice.detach(), outcome.members)
        if not found.present.any():
            return losses.mean()
        least = found.means[found.present].min()
        # A group without any error is the one served best: 0 / 0 is 1 here.
        ratio = (least + 1e-12) / (found.means + 1e-12)
        own = outcome.own_members.to(losses)
        scales = own @ (ratio**gamma).tanh() / own.sum(1).clamp_min(1)
        scales = torch.where(own.any(1), scales, math.tanh(1.0))
        return losses.mean() + (outcome.dice_losses(scales) - dice).mean()

    return scaled


def cvar(_counts: Sequence[int], *, tail: float = 0.2) -> Weighting:
    """Count only the cases that fare worst in the batch: CVaR; no attribute is needed.

    The mean of the `tail * N` largest losses, rounded, one at least (Levy et al. 2020, arXiv
    2010.05893, who show what batches do to it: the larger they are, the nearer to the tail of all
    cases). The share is decided here: the one that validation heeds where no group is known.

    Args:
        tail: Above 0, to 1, which is `equal`.

    Raises:
        ConfigError: The tail is out of its range.
    """
    if not 0 < tail <= 1:
        raise ConfigError(f"tail of cvar is above 0, and 1 at most, got {tail}")

    def worst(losses: Tensor, _outcome: Outcome) -> Tensor:
        return losses.topk(_share(tail, losses)).values.mean()

    return worst


def hard_cases(_counts: Sequence[int], *, share: float = 0.2, factor: float = 3.0) -> Weighting:
    """Count the cases that the host as deployed does worst `factor` times; no attribute is needed.

    After JTT (Liu et al. 2021, arXiv 2107.09044), which trains anew with the cases repeated that a
    first model got wrong. The host is the first model here, and "wrong" is not yes or no: hard are
    the `share * N` cases of a batch, rounded, one at least, with the largest loss under the host.
    A case's loss under the host never changes, so that a case is hard in most batches or in few.
    The weights are made to add up to N. Each step runs what comes after the frontier once more,
    without gradients.

    Args:
        share: Above 0 and below 1.
        factor: 1 or more; 1 is `equal`. The paper has 5 to 100, for classes.

    Raises:
        ConfigError: An option is out of its range.
    """
    if not (0 < share < 1 and 1 <= factor < math.inf):
        raise ConfigError(
            "hard-cases has a share between 0 and 1 and a finite factor of 1 or more; got "
            f"share={share}, factor={factor}"
        )

    def counted(losses: Tensor, outcome: Outcome) -> Tensor:
        hard = outcome.host_losses.topk(_share(share, losses)).indices
        weights = torch.ones_like(losses).index_fill(0, hard, factor)
        return (weights * losses).sum() / weights.sum()

    return counted


class GroupLosses(NamedTuple):
    """Mean losses of the groups in a batch."""

    means: Tensor
    """(G,), 0 where there is no case."""

    present: Tensor
    """(G,), whether there is one."""


def group_losses(losses: Tensor, members: Tensor) -> GroupLosses:
    """Return the mean of losses (N,) over the cases of each group, by members (N, G)."""
    sizes = members.sum(0)
    return GroupLosses(losses @ members.to(losses) / sizes.clamp_min(1), sizes > 0)


def weighted(losses: Tensor, members: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of the groups' mean losses, by weights (G,), whatever these add up to.

    Groups without cases in the batch are left out. Cases of unknown group count as in a plain mean:
    `known / N * (mean of groups) + 1 / N * (sum of unknown)`, for N cases.
    """
    found = group_losses(losses, members)
    kept = torch.where(found.present, weights, 0)
    of_groups = found.means @ kept / kept.sum().clamp_min(torch.finfo(kept.dtype).tiny)
    known = members.any(1)
    return known.to(losses).mean() * of_groups + (losses * ~known).mean()


def check_groups(name: str, groups: Sequence[int]) -> None:
    """Refuse to make something by groups where no attribute is given.

    Raises:
        ConfigError: `groups` is empty.
    """
    if not groups:
        raise ConfigError(
            f"{name} goes by groups, and no attribute is given; "
            "cvar and hard-cases go by losses alone"
        )


def _share(share: float, losses: Tensor) -> int:
    return max(1, round(share * len(losses)))


WEIGHTINGS: Mapping[str, Callable[..., Weighting]] = {
    "equal": equal,
    "balanced": balanced,
    "worst-group": WorstGroup,
    "febs": febs,
    "cvar": cvar,
    "hard-cases": hard_cases,
}
"""The weightings that a file may name. Each is made from the number of cases of each group that are
fitted on, in the order of `Outcome.members`, with its options as keywords."""
