"""Loss terms by hand and by gradcheck; the adversary learns, and only from its own loss."""

import copy
import math

import pytest
import torch
from torch.nn import functional

from apple_seg.perturb import Adversary, Outcome, SegmentationLoss, pool
from apple_seg.perturb.objectives.adversary import fairness_loss


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


def test_segmentation_loss_by_hand():
    """Logits 0 give BCE log 2 and, with half the pixels true, soft Dice 2*1/(2+2)."""
    objective = SegmentationLoss("sigmoid", [0])
    masks = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    loss = objective(torch.zeros(1, 1, 2, 2), masks)
    dice = 1 - (2 * 1 + 1e-5) / (2 + 2 + 1e-5)  # MONAI smooths both by 1e-5
    assert loss.tolist() == pytest.approx([math.log(2) + dice])


def test_softmax_loss_reads_background_from_channel_zero():
    objective = SegmentationLoss("softmax", [1, 2])
    masks = torch.zeros(1, 2, 1, 3)
    masks[0, 0, 0, 1] = masks[0, 1, 0, 2] = 1
    right = torch.full((1, 3, 1, 3), -20.0)
    for cell, channel in enumerate((0, 1, 2)):
        right[0, channel, 0, cell] = 20.0
    assert objective(right, masks).item() == pytest.approx(0, abs=1e-4)
    assert objective(right.flip(1), masks).item() > 1


def test_softmax_background_may_be_another_channel():
    objective = SegmentationLoss("softmax", [0], background=1)
    masks = torch.tensor([[[[1.0, 0.0]]]])
    right = torch.tensor([[[[20.0, -20.0]], [[-20.0, 20.0]]]])
    assert objective(right, masks).item() == pytest.approx(0, abs=1e-4)
    assert objective(right.flip(1), masks).item() > 1


def test_pooling_is_mean_and_deviation_of_every_channel_of_every_site():
    latents = [torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2, 2)]
    pooled = pool(latents)
    assert pooled.shape == (2, 16)
    torch.testing.assert_close(pooled[:, :3], latents[0].mean((2, 3)))
    deviation = latents[1].flatten(2).std(-1, unbiased=False)
    torch.testing.assert_close(pooled[:, 11:], deviation, rtol=1e-3, atol=1e-3)


def test_discriminator_learns_what_is_told_and_not_what_is_shuffled():
    def accuracy(shuffle):
        latent, groups = told()
        if shuffle:
            groups = groups[torch.randperm(len(groups))]
        objective = Adversary([3], [2])
        for _ in range(30):
            objective.observe(outcome([latent], groups))
        held, truth = told(seed=1)
        guesses = objective.discriminator.eval()(pool([held]))
        return (guesses.argmax(1) == truth).float().mean().item()

    assert accuracy(shuffle=False) > 0.9
    assert accuracy(shuffle=True) < 0.75


def test_discriminator_learns_nothing_from_the_perturbers_loss():
    latent, groups = told()
    objective = Adversary([3], [2], learning_rate=1e-2)
    alone = copy.deepcopy(objective.discriminator)
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
        torch.testing.assert_close(dict(objective.discriminator.named_parameters())[name], value)


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
