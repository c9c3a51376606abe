"""What keeps an adversary honest: each means does what it says, and a resumed fit has it all."""

import copy
import io
import itertools

import pytest
import torch

from apple_seg.errors import ConfigError
from apple_seg.perturb import METHODS, Adversary, pool
from apple_seg.perturb.objectives.discriminator import JointDiscriminator, Seen
from judged import of_latent as outcome
from judged import same, told, weights

STEADY = {
    "discriminators": 2,
    "spatial": True,
    "reset_every": 3,
    "gradient_penalty": 0.1,
    "steps": 2,
    "last_norm": False,
    "ceiling": 0.6,
}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("entropy", -0.1),
        ("learning_rate", 0.0),
        ("discriminators", 0),
        ("discriminators", 1.5),
        ("reset_every", -1),
        ("gradient_penalty", float("nan")),
        ("steps", 0),
        ("ceiling", 0.4),
        ("ceiling", 1.0),
    ],
)
def test_option_out_of_range_is_refused(option, value):
    with pytest.raises(ConfigError, match=f"an adversary needs .*{option}.*; got {value}"):
        Adversary([3], [2], **{option: value})


def test_adversary_without_an_attribute_is_refused():
    with pytest.raises(ConfigError, match="a sensitive attribute with groups to guess; got none"):
        Adversary([3], [])


def test_loss_is_the_mean_of_the_discriminators():
    latent, groups = told()
    adversary = Adversary([3], [2], discriminators=3)
    members = list(adversary.panel)
    assert not same(weights(members[0]), weights(members[1]))
    alone = []
    for member in members:
        one = Adversary([3], [2])
        next(iter(one.panel)).load_state_dict(member.state_dict())
        alone.append(one(outcome(latent, groups)))
    found = adversary(outcome(latent, groups))
    torch.testing.assert_close(found, torch.stack(alone).mean())
    assert alone[0] != alone[1]


def test_cells_tell_what_pooling_does_not():
    """Two channels of +1 and -1 that go together, or against each other: each by itself is alike.

    A discriminator of pooled latents has nothing to learn from; one of cells has.
    """

    def cohort(seed):
        draw = torch.Generator().manual_seed(seed)
        groups = torch.arange(64) % 2
        order = torch.rand(64, 16, generator=draw).argsort(1)
        signs = torch.where(order < 8, 1.0, -1.0).view(64, 4, 4)
        together = (2 * groups[:, None, None] - 1) * signs
        return torch.stack([signs, together], 1), groups

    def accuracy(spatial):
        torch.manual_seed(0)
        adversary = Adversary([2], [2], spatial=spatial, learning_rate=5e-3, last_norm=False)
        for seed in range(60):
            adversary.observe(outcome(*cohort(seed)))
        found = adversary.observe(outcome(*cohort(99)))
        return found["discriminator_accuracy"]

    assert accuracy(spatial=True) > 0.95
    assert accuracy(spatial=False) < 0.75


def test_joint_guess_is_the_mean_of_the_voters():
    latent, _ = told(8)
    joint = JointDiscriminator([3], 2, spatial=True)
    seen = Seen(pool([latent]), [latent], torch.ones(8, dtype=torch.bool), lambda rows: rows)
    channels = latent.transpose(0, 1).flatten(1)
    mean, deviation = channels.mean(1), channels.std(1, unbiased=False)
    vote = joint.cells[0](latent, mean, deviation)
    torch.testing.assert_close(
        joint(seen), (joint.pooled(seen.pooled) + vote) / 2, rtol=1e-4, atol=1e-4
    )


def test_one_discriminator_in_turn_starts_anew():
    latent, groups = told()
    adversary = Adversary([3], [2], discriminators=2, reset_every=3)
    first, second = adversary.panel
    random = torch.get_rng_state()
    for step in range(1, 7):
        before = weights(first), weights(second)
        adversary.observe(outcome(latent, groups))
        moved = [
            max(float((a - b).abs().max()) for a, b in zip(old, weights(new), strict=True))
            for old, new in zip(before, (first, second), strict=True)
        ]
        # Adam's step is about the learning rate, 0.001; a fresh start is far from that
        assert [one > 0.05 for one in moved] == [step == 3, step == 6]
    assert torch.equal(random, torch.get_rng_state())
    assert not adversary.panel.optimizers[1].state
    assert adversary.panel.optimizers[0].state
    assert not same(weights(first), weights(second))


def test_steps_are_so_many_of_a_plain_discriminator():
    latent, groups = told()
    torch.manual_seed(0)
    one = Adversary([3], [2])
    torch.manual_seed(0)
    three = Adversary([3], [2], steps=3)
    for _ in range(3):
        one.observe(outcome(latent, groups))
    three.observe(outcome(latent, groups))
    assert same(weights(one), weights(three))


def test_everything_is_resumed_bit_for_bit():
    batches = [told(16, seed) for seed in range(8)]
    torch.manual_seed(0)
    going = Adversary([3], [2], 1, **STEADY)

    def play(adversary, some):
        found = []
        for latent, groups in some:
            leaf = latent.clone().requires_grad_()
            numbers = latent[:, :1, 0, 0] + groups[:, None]
            shown = outcome(leaf, groups, numbers=numbers)
            notes = adversary.observe(shown)
            adversary(shown).backward()
            found.append((notes, leaf.grad))
        return found, adversary.end_epoch()

    play(going, batches[:3])
    play(going, batches[3:4])
    for latent, groups in batches[4:6]:  # in the middle of an epoch
        going.observe(outcome(latent, groups, numbers=latent[:, :1, 0, 0]))
    file = io.BytesIO()
    torch.save(going.state_dict(), file)
    torch.manual_seed(7)
    again = Adversary([3], [2], 1, **STEADY)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    assert again.schedule.factor == going.schedule.factor != 1.0
    expected, found = (play(one, batches[5:]) for one in (going, again))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert same(weights(again), weights(going))
    fresh = Adversary([3], [2], 1, **STEADY)
    assert play(fresh, batches[5:])[0][-1][0] != expected[0][-1][0]


def test_methods_with_an_adversary_are_as_published_and_steady():
    assert METHODS["apple"].terms == {"adversary": 0.1}
    steady = METHODS["apple-steady"]
    assert steady.sites == "stages"
    assert steady.perturber == "lean"
    assert {*STEADY} <= {*steady.terms["adversary"]}


def in_halves(play):
    """Return what `play(rank, gather)` returns of two processes, played by hand.

    Both are played again and again, each with what the other sent last; what is sent n-th is right
    once all before it is.
    """
    sent = [{}, {}]

    def gather_of(rank):
        calls = itertools.count()

        def gather(rows):
            call = next(calls)
            sent[rank][call] = rows.detach()
            other = sent[1 - rank].get(call, rows.detach())
            return torch.cat([rows, other] if rank == 0 else [other, rows])

        return gather

    for _ in range(16):
        found = [play(rank, gather_of(rank)) for rank in range(2)]
    assert len(sent[0]) == len(sent[1]) < 16
    return found


def test_two_processes_have_the_gradients_of_one():
    latent, groups = told(16)
    torch.manual_seed(0)
    whole = Adversary([3], [2], spatial=True, gradient_penalty=0.1)
    halves = [slice(0, 8), slice(8, 16)]

    def learn(rank, gather):
        adversary, own = copy.deepcopy(whole), halves[rank]
        adversary.observe(outcome(latent[own], groups[own], gather=gather))
        return [value.grad for value in adversary.parameters()]

    def prevent(rank, gather):
        own = halves[rank]
        leaf = latent[own].clone().requires_grad_()
        copy.deepcopy(whole)(outcome(leaf, groups[own], gather=gather)).backward()
        return leaf.grad

    learnt, prevented = in_halves(learn), torch.cat(in_halves(prevent))
    leaf = latent.clone().requires_grad_()
    whole(outcome(leaf, groups)).backward()
    torch.testing.assert_close(prevented, leaf.grad, rtol=1e-3, atol=1e-7)
    whole.observe(outcome(latent, groups))
    for gradients in learnt:
        for ours, value in zip(gradients, whole.parameters(), strict=True):
            torch.testing.assert_close(ours, value.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("options", [{}, STEADY], ids=["published", "steady"])
def test_perturber_is_told_to_hide_the_channel_that_tells_and_a_control_is_not(options):
    """How the descent moves the groups apart, by channel, after the discriminators learnt."""

    def parting(shuffle):
        torch.manual_seed(0)
        adversary = Adversary([3], [2], **{**options, "learning_rate": 5e-3, "reset_every": 0})
        latent, groups = told(96, shift=1.0)
        said = torch.arange(96) // 2 % 2 if shuffle else groups  # each half of either group
        for _ in range(20):
            adversary.observe(outcome(latent, said))
        leaf = told(96, seed=1, shift=1.0)[0].requires_grad_()
        adversary(outcome(leaf, said)).backward()
        descent = -leaf.grad.sum((2, 3))
        return descent[groups == 1].mean(0) - descent[groups == 0].mean(0)

    moved, control = parting(shuffle=False), parting(shuffle=True)
    assert moved[0] < 0  # the group that lies higher goes down
    assert moved[0].abs() > 2 * moved[1:].abs().max()
    assert control[0].abs() < 0.4 * moved[0].abs()
