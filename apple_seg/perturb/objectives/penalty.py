"""How steep a discriminator is where the latents are: R1, a bound on what it makes of little."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from apple_seg.perturb.objectives.discriminator import JointDiscriminator, Seen
from apple_seg.perturb.objectives.outcome import Attribute
from apple_seg.perturb.objectives.pooling import batch_statistics, pool


def slope_penalty(
    member: JointDiscriminator, seen: Seen, every: Sequence[Attribute], own: Sequence[Attribute]
) -> Tensor:
    """Return the mean over cases of `|d s / d pooled|^2`, summed over attributes and voters.

    s is the log-odds that a voter gives to a case's own group against all others, for two groups
    the logit of which R1 speaks (Mescheder et al. 2018, arXiv 1801.04406). Pooled latents count in
    their deviations over the batch. BatchNorm lets a case sway the guesses of others: the slope is
    of the sum of all s. For kernels on cells it is the slope along what moves all cells of a
    channel together, their mean and deviation, the pattern being held.

    Args:
        member: Whose voters are asked.
        seen: What it is shown.
        every: The attributes of the n cases that count, over all processes.
        own: The attributes of this process's N cases.
    """
    pooled = seen.pooled.detach().requires_grad_()
    spread = pooled.detach().std(0, unbiased=False)
    counts = [int(one.known.sum()) for one in every]
    total = _squares(member.pooled(pooled), every, counts, pooled, spread)
    if not len(member.cells):
        return total
    statistics = batch_statistics(seen.pooled.detach(), member.channels)
    spreads = spread.split([2 * one for one in member.channels])
    voters = zip(member.cells, seen.latents, statistics, spreads, strict=True)
    for voter, latent, statistic, of_site in voters:
        pooled, moved = _movable(latent.detach())
        total = total + _squares(voter(moved, *statistic), own, counts, pooled, of_site)
    return total


def own_odds(logits: Tensor, codes: Tensor) -> Tensor:
    """Return the log-odds (N,) that logits (N, A) give to the groups (N,)."""
    own = functional.one_hot(codes, logits.shape[1]).bool()
    return logits[own] - logits.masked_fill(own, -torch.inf).logsumexp(1)


def _squares(
    guesses: Tensor,
    attributes: Sequence[Attribute],
    counts: Sequence[int],
    pooled: Tensor,
    spread: Tensor,
) -> Tensor:
    """Return the squared slopes of guesses at `pooled`, over the number of known cases."""
    total = guesses.sum() * 0
    logits = guesses[:, : sum(one.groups for one in attributes)]
    parts = logits.split([one.groups for one in attributes], 1)
    for part, one, count in zip(parts, attributes, counts, strict=True):
        if one.known.any():
            odds = own_odds(part[one.known], one.codes[one.known])
            (slope,) = torch.autograd.grad(odds.sum(), pooled, create_graph=True)
            total = total + (slope * spread).square().sum() / count
    return total


def _movable(latent: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pooled latent (N, 2C) as a leaf, and the latent (N, C, cells) made from it."""
    pooled = pool([latent])
    mean, deviation = pooled.unsqueeze(2).chunk(2, 1)
    pattern = (latent.float().flatten(2) - mean) / deviation
    pooled = pooled.detach().requires_grad_()
    mean, deviation = pooled.unsqueeze(2).chunk(2, 1)
    return pooled, mean + pattern * deviation
