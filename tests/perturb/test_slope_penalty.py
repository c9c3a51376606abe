"""The slope penalty of a discriminator, by finite differences and by autograd by hand."""

import copy

import pytest
import torch
from torch.nn import functional

from apple_seg.perturb import Adversary, pool
from apple_seg.perturb.objectives.discriminator import JointDiscriminator, Seen
from apple_seg.perturb.objectives.guesses import Truth
from apple_seg.perturb.objectives.penalty import slope_penalty
from judged import of_latent as outcome
from judged import same, told, weights


@pytest.mark.parametrize("spatial", [False, True])
def test_slope_penalty_by_hand(spatial):
    """By finite differences of each case's log-odds; without BatchNorm cases do not mix."""
    torch.manual_seed(0)
    latent, groups = told(6)
    member = JointDiscriminator([3], 2, spatial=spatial, last_norm=False)
    for block in (1, 4):
        member.pooled.blocks[block] = torch.nn.Identity()
    pooled = pool([latent])
    truth = Truth.of(outcome(latent, groups), numbers=False)
    seen = Seen(pooled, [latent], truth.rows, lambda one: one)
    found = slope_penalty(member, seen, truth.attributes, truth.attributes)
    member, latent, pooled = member.double(), latent.double(), pooled.double()
    spread = pooled.std(0, unbiased=False)

    def odds(logits):
        return torch.where(groups == 1, 1, -1) * (logits[:, 1] - logits[:, 0])

    def by_cells(values):
        mean, deviation = (one[:, :, None, None] for one in values.chunk(2, 1))
        was_mean, was_deviation = (one[:, :, None, None] for one in pooled.chunk(2, 1))
        moved = mean + (latent - was_mean) / was_deviation * deviation
        channels = latent.transpose(0, 1).flatten(1)
        statistics = channels.mean(1), channels.std(1, unbiased=False)
        inputs = (moved.flatten(2) - statistics[0][:, None]) / statistics[1][:, None]
        return member.cells[0].kernels(inputs).mean(2)

    expected, step = 0.0, 1e-5
    for guess in (member.pooled, by_cells) if spatial else (member.pooled,):
        for place in range(6):
            ahead, behind = pooled.clone(), pooled.clone()
            ahead[:, place] += step
            behind[:, place] -= step
            slope = (odds(guess(ahead)) - odds(guess(behind))) / (2 * step) * spread[place]
            expected += float(slope.detach().square().mean())
    assert float(found.detach()) == pytest.approx(expected, rel=1e-3)


def test_gradient_penalty_is_minimised_as_autograd_has_it_by_hand():
    latent, groups = told()
    torch.manual_seed(0)
    adversary = Adversary([3], [2], gradient_penalty=4.0, last_norm=False, learning_rate=1e-2)
    alone = copy.deepcopy(next(iter(adversary.panel)).pooled)
    optimizer = torch.optim.Adam(alone.parameters(), 1e-2)
    pooled = pool([latent])
    for _ in range(3):
        leaf = pooled.clone().requires_grad_()
        guesses = alone(leaf)
        own = guesses.gather(1, groups[:, None]) - guesses.gather(1, 1 - groups[:, None])
        (slope,) = torch.autograd.grad(own.sum(), leaf, create_graph=True)
        squares = (slope * pooled.std(0, unbiased=False)).square().sum(1).mean()
        loss = functional.cross_entropy(alone(pooled), groups) + 2 * squares
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        adversary.observe(outcome(latent, groups))
    ours = next(iter(adversary.panel)).pooled
    for one, other in zip(ours.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    plain = Adversary([3], [2], last_norm=False, learning_rate=1e-2)
    for _ in range(3):
        plain.observe(outcome(latent, groups))
    assert not same(weights(ours), weights(next(iter(plain.panel)).pooled))
