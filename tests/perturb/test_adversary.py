"""The published adversary: its loss by hand; it learns, and only from its own loss."""

import copy
import math

import pytest
import torch
from torch.nn import functional

from apple_seg.perturb import Adversary, Outcome, pool
from apple_seg.perturb.objectives.guesses import fairness_loss, number_loss


def outcome(latents, groups):
    empty = torch.zeros(len(groups), 1, 2, 2)
    return Outcome(empty, empty, tuple(latents), torch.as_tensor(groups)[:, None], (2,))


def told(n=64, seed=0):
    """Latents whose first channel tells the group, and the groups."""
    latent = torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    groups = torch.arange(n) % 2
    latent[:, 0] += 2 * groups[:, None, None]
    return latent, groups


@pytest.mark.parametrize(
    ("guesses", "groups", "expected"),
    [
        ([[0.0, 0.0]] * 4, [0, 1, 0, 1], -1.5 * math.log(2)),  # CE = H = log 2
        # p = (.9, .1), group 0: CE = -log .9; H = -(.9 log .9 + .1 log .1)
        (
            [[math.log(9.0), 0.0]],
            [0],
            math.log(0.9) - 0.5 * -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)),
        ),
    ],
    ids=["at-chance", "sure"],
)
def test_fairness_loss_by_hand(guesses, groups, expected):
    loss = fairness_loss(torch.tensor(guesses), torch.tensor(groups), entropy=0.5)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_fairness_loss_gradient():
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    groups = torch.tensor([0, 2, 3])
    assert torch.autograd.gradcheck(lambda x: fairness_loss(x, groups, entropy=0.1), logits)


@pytest.mark.parametrize(
    ("guesses", "numbers", "expected"),
    [
        ([1.0, -1.0], [1.0, -1.0], 1 + 0.5),  # all of the variance 1 explained, guesses as varied
        ([-1.0, 1.0], [1.0, -1.0], 0 + 0.5),  # turned round: no reward for that, only the spread
        ([0.0, 0.0], [1.0, -1.0], 0.0),  # unsure
        ([1.0, 0.0], [2.0, 0.0], (1 - 0.5) + 0.5 * 0.25),
    ],
    ids=["right", "turned-round", "unsure", "half"],
)
def test_number_loss_by_hand(guesses, numbers, expected):
    loss = number_loss(torch.tensor(guesses), torch.tensor(numbers), entropy=0.5)
    assert loss.item() == pytest.approx(expected)


def test_discriminator_learns_what_is_told_and_not_what_is_shuffled():
    def accuracy(shuffle):
        latent, groups = told()
        if shuffle:
            groups = groups[torch.randperm(len(groups))]
        objective = Adversary([3], [2])
        for _ in range(30):
            objective.observe(outcome([latent], groups))
        held, truth = told(seed=1)
        guesses = next(iter(objective.panel)).pooled.eval()(pool([held]))
        return (guesses.argmax(1) == truth).float().mean().item()

    assert accuracy(shuffle=False) > 0.9
    assert accuracy(shuffle=True) < 0.75


def test_discriminator_learns_nothing_from_the_perturbers_loss():
    latent, groups = told()
    objective = Adversary([3], [2], learning_rate=1e-2)
    alone = copy.deepcopy(next(iter(objective.panel)).pooled)
    optimizer = torch.optim.Adam(alone.parameters(), 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        functional.cross_entropy(alone(pool([latent])), groups).backward()
        optimizer.step()
        # the perturber's loss goes through the discriminator each time, and leaves its gradient
        objective.observe(outcome([latent], groups))
        leaf = latent.clone().requires_grad_()
        objective(outcome([leaf], groups)).backward()
        assert leaf.grad.any()
    for name, value in alone.named_parameters():
        torch.testing.assert_close(
            dict(next(iter(objective.panel)).pooled.named_parameters())[name], value
        )


def test_unknown_groups_count_for_neither_player():
    latent, groups = told(8)
    objective = Adversary([3], [2])
    some = groups.clone()
    some[2:] = -1
    leaf = latent.clone().requires_grad_()
    objective(outcome([leaf], some)).backward()
    assert leaf.grad[:2].any()
    assert not leaf.grad[2:].any()
    some[1:] = -1
    assert objective(outcome([latent], some)) is None
    assert objective.observe(outcome([latent], some)) == {}


def with_numbers(latent, groups, numbers):
    empty = torch.zeros(len(groups), 1, 2, 2)
    return Outcome(empty, empty, (latent,), groups[:, None], (2,), numbers)


def test_numbers_are_learnt_and_unknown_ones_count_for_neither_player():
    latent, groups = told()
    numbers = torch.randn(64, 1, generator=torch.Generator().manual_seed(3))
    latent[:, 1] += 2 * numbers[:, :, None]
    shuffled = numbers.roll(5, 0)
    unknown = torch.full_like(groups, -1)

    def explained(shown):
        torch.manual_seed(0)
        objective = Adversary([3], [2], 1, learning_rate=1e-2)
        for _ in range(60):
            objective.observe(with_numbers(latent, unknown, shown))
        (member,) = objective.panel
        guesses = member.pooled.eval()(pool([told(seed=1)[0] + torch.zeros(64, 3, 1, 1)]))
        assert guesses.shape == (64, 3)
        fresh = latent.roll(1, 0) + 0.1 * torch.randn(64, 3, 4, 4)
        guess, truth = member.pooled(pool([fresh]))[:, 2], shown.roll(1, 0)[:, 0]
        return 1 - (guess - truth).square().mean() / truth.var()

    assert explained(numbers) > 0.8
    assert explained(shuffled) < explained(numbers)
    objective = Adversary([3], [2], 1)
    some = numbers.clone()
    some[8:] = float("nan")
    leaf = latent.clone().requires_grad_()
    objective(with_numbers(leaf, unknown, some)).backward()
    assert leaf.grad[:8].any()
    assert not leaf.grad[8:].any()
    assert leaf.grad.isfinite().all()
    found = objective.observe(with_numbers(latent, groups, some))
    assert {*found} == {"discriminator", "discriminator_accuracy", "discriminator_explained"}
    assert objective(with_numbers(latent, unknown, some * float("nan"))) is None
