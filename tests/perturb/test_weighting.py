"""Who counts how much: by hand, by the papers' formulas, by gradients, over processes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from apple_seg.errors import ConfigError
from apple_seg.perturb import METHODS, MethodSpec, Objective, Outcome
from apple_seg.perturb.objectives import WEIGHTINGS
from judged import LOSS, judged

KNOWN = [0, 1, 0, 1, 0, 0, 1, 0]
OF_GROUPS = ["balanced", "worst-group", "febs"]


def bare(codes, sizes=(2,)):
    empty = torch.zeros(len(codes), 1, 2, 2)
    return Outcome(empty, empty, (), torch.as_tensor(codes)[:, None], sizes)


@pytest.mark.parametrize(
    ("name", "options", "codes", "expected"),
    [
        ("equal", {}, [0, 0, 1, -1], 3.0),
        ("balanced", {}, [0, 0, 1, 1], (1.5 + 4.5) / 2),
        ("balanced", {}, [0, 0, 0, 1], (2 + 6) / 2),
        ("balanced", {}, [1, 1, 1, 1], 3.0),  # a group is missing
        ("balanced", {}, [-1, -1, -1, -1], 3.0),  # nobody is known: equal
        # three quarters of the cases are known, and the unknown one counts as one of four
        ("balanced", {}, [0, 0, 1, -1], 0.75 * (1.5 + 3) / 2 + 6 / 4),
        ("worst-group", {}, [0, 0, 0, 1], (2 + 6) / 2),  # new: q is even
        ("worst-group", {}, [0, 0, 1, -1], 0.75 * (1.5 + 3) / 2 + 6 / 4),
        ("cvar", {"tail": 0.5}, [0, 0, 1, 1], (6 + 3) / 2),
        ("cvar", {"tail": 0.01}, [0, 0, 1, 1], 6.0),  # one case at least
        ("cvar", {"tail": 1}, [0, 0, 1, 1], 3.0),
    ],
)
def test_weighted_loss_by_hand(name, options, codes, expected):
    weighting = WEIGHTINGS[name]([5, 2], **options)
    losses = torch.tensor([1.0, 2.0, 3.0, 6.0])
    assert weighting(losses, bare(codes)).item() == pytest.approx(expected)


def test_hard_cases_are_those_of_the_host_and_not_of_the_perturber():
    masks = torch.ones(4, 1, 2, 2)
    host = torch.tensor([5.0, -5.0, 5.0, 5.0]).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    outcome = replace(bare([-1] * 4), masks=masks, host=lambda: host, loss=LOSS)
    losses = torch.tensor([1.0, 2.0, 3.0, 6.0])
    weighting = WEIGHTINGS["hard-cases"]([], share=0.25, factor=3.0)
    assert weighting(losses, outcome).item() == pytest.approx((1 + 3 * 2 + 3 + 6) / 6)
    alike = WEIGHTINGS["hard-cases"]([], share=0.25, factor=1.0)
    assert alike(losses, outcome).item() == pytest.approx(3)


def test_group_dro_moves_its_weights_as_the_paper_says_and_a_missing_group_keeps_its_own():
    counts, step, adjustment = [400, 25, 100], 0.5, 2.0
    weighting = WEIGHTINGS["worst-group"](counts, step=step, adjustment=adjustment)
    q = np.full(3, 1 / 3)
    for seed, codes in enumerate([[0, 1, 2, 2, 1, -1], [0, 0, 1, 1, 0, 1], [2, 2, 1, 0, 0, 0]]):
        outcome = judged(codes, sizes=(3,), seed=seed)
        weighting.observe(outcome)
        losses, codes, before = outcome.losses.detach().numpy(), np.array(codes), q.copy()
        there = [g for g in range(3) if (codes == g).any()]
        for g in there:
            mean = losses[codes == g].mean()
            q[g] *= np.exp(step * (mean + adjustment / np.sqrt(counts[g])))
        q[there] *= before[there].sum() / q[there].sum()
        np.testing.assert_allclose(weighting.weights.numpy(), q, rtol=1e-5)
        known = (codes >= 0).mean()
        means = sum(q[g] / q[there].sum() * losses[codes == g].mean() for g in there)
        expected = known * means + losses[codes < 0].sum() / len(codes)
        assert weighting(outcome.losses, outcome).item() == pytest.approx(expected, rel=1e-5)
        if seed == 1:
            assert q[2] == before[2]
    assert abs(q - 1 / 3).max() > 0.05


def test_small_groups_weigh_more_by_the_adjustment_alone():
    outcome = judged([0, 1], seed=3)
    outcome = replace(outcome, logits=outcome.logits[:1].expand(2, 1, 4, 4))
    outcome = replace(outcome, masks=outcome.masks[:1].expand(2, 1, 4, 4))  # the same loss
    weights = {}
    for adjustment in (0.0, 1.0):
        weighting = WEIGHTINGS["worst-group"]([100, 4], step=1.0, adjustment=adjustment)
        weighting.observe(outcome)
        weights[adjustment] = weighting.weights.tolist()
    assert weights[0.0] == pytest.approx([0.5, 0.5])
    # exp(1 / sqrt(4)) against exp(1 / sqrt(100))
    assert weights[1.0][1] / weights[1.0][0] == pytest.approx(np.exp(0.5 - 0.1), rel=1e-5)


def test_group_that_was_served_well_for_long_comes_back():
    weighting = WEIGHTINGS["worst-group"]([5, 5], step=5.0)
    first = judged([0, 0, 1, 1])  # later cases are worse
    for _ in range(300):
        weighting.observe(first)
    assert weighting.weights[1] > 0.999
    assert torch.isfinite(weighting.log_weights).all()
    for _ in range(400):
        weighting.observe(judged([1, 1, 0, 0]))
    assert weighting.weights[0] > 0.999


def test_resumed_group_weights_are_those_that_were_saved():
    def objective():
        return Objective(LOSS, WEIGHTINGS["worst-group"]([5, 3], step=0.7), {})

    first, resumed, new = objective(), objective(), objective()
    for seed in range(3):
        first.observe(judged(KNOWN, seed=seed))
    resumed.load_state_dict(first.state_dict())
    outcome = judged(KNOWN, seed=9)
    told = [one.observe(outcome) for one in (first, resumed, new)]
    values = [one(outcome)["segmentation"].item() for one in (first, resumed, new)]
    assert told[0] == told[1] != told[2]
    assert set(told[0]) == {"group_weight_0", "group_weight_1"}
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_gradient_is_there_after_players_have_looked_and_right(name):
    objective = Objective(LOSS, WEIGHTINGS[name]([5, 3]), {}).double()
    codes = [0, 1, 0, -1, 1]
    outcome = judged(codes, dtype=torch.float64)
    objective.observe(outcome)
    objective(outcome)["segmentation"].backward()
    assert outcome.logits.grad.isfinite().all()
    moved = outcome.logits.grad.flatten(1).any(1).tolist()
    assert moved == ([False, False, False, False, True] if name == "cvar" else [True] * 5)
    if name == "febs":  # its weights are constants, though they depend on the logits
        return

    def value(logits):
        return objective(replace(outcome, logits=logits))["segmentation"]

    leaf = outcome.logits.detach().requires_grad_()
    assert torch.autograd.gradcheck(value, leaf)


def reference_febs(outcome, codes, gamma):
    """The published weights, on predictions, for one group a case; least over present groups."""
    p, y = outcome.logits.sigmoid().detach().numpy(), outcome.masks.numpy()

    def dice(p, y):
        return 1 - (2 * (p * y).sum() + 1e-5) / (p.sum() + y.sum() + 1e-5)

    each = np.array([dice(*one) for one in zip(p, y, strict=True)])
    mean = {g: each[np.array(codes) == g].mean() for g in {*codes} - {-1}}
    least = min(mean.values())  # an unknown case is taken to be of the group served best
    w = [np.tanh((least / mean.get(g, least)) ** gamma) for g in codes]
    scaled = np.array([dice(w * p, y) for w, p, y in zip(w, p, y, strict=True)])
    return outcome.losses.mean().item() + (scaled - each).mean(), w


def test_febs_is_the_published_formula_and_a_missing_group_does_not_undo_it():
    codes = [0, 1, 0, 1, -1]
    outcome = judged(codes)
    expected, w = reference_febs(outcome, codes, 1.5)
    assert w[0] == pytest.approx(np.tanh(1))
    assert w[1] < 0.9 * w[0]  # later cases are worse, and their predictions are scaled down
    found = WEIGHTINGS["febs"]([5, 5], gamma=1.5)(outcome.losses, outcome)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    # The published code has 0 as the loss of a group that is missing, hence 0 as everybody's w.
    three = replace(outcome, sizes=(3,))
    found = WEIGHTINGS["febs"]([5, 5, 5], gamma=1.5)(three.losses, three)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_febs_enlarges_the_loss_of_the_group_served_worse_but_not_its_gradient():
    codes = [0, 0, 0, 1, 1, 1]
    gradients, values = {}, {}
    for gamma in (0.0, 2.0):  # 0 scales both groups alike
        outcome = judged(codes)
        loss = WEIGHTINGS["febs"]([5, 5], gamma=gamma)(outcome.losses, outcome)
        loss.backward()
        values[gamma], gradients[gamma] = loss.item(), outcome.logits.grad[3:].norm().item()
    assert values[2.0] > values[0.0] + 0.01
    assert gradients[2.0] < gradients[0.0]


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_shared_batch_has_the_loss_and_the_gradient_of_the_whole(name):
    codes, half = KNOWN, len(KNOWN) // 2
    whole = judged(codes)
    weighting = WEIGHTINGS[name]([5, 3])
    Objective(LOSS, weighting, {}).observe(whole)
    value = weighting(whole.losses, whole)
    value.backward()
    sent = [{}, {}]

    def process(rank):
        calls = iter(range(99))

        def gather(rows):
            call = next(calls)
            sent[rank][call] = rows.detach()
            other = sent[1 - rank].get(call, torch.zeros_like(rows))
            return torch.cat([rows, other] if rank == 0 else [other, rows])

        own = slice(rank * half, (rank + 1) * half)
        leaf = whole.logits.detach()[own].requires_grad_()
        host = whole.host_logits[own]
        given = {"logits": leaf, "masks": whole.masks[own], "groups": whole.groups[own]}
        outcome = replace(whole, **given, host=lambda: host, gather=gather)
        loss = weighting(outcome.losses, outcome)
        return loss.item(), torch.autograd.grad(loss, leaf)[0]

    for _ in range(4):  # until each has what the other sends, which may depend on what it got
        found = [process(rank) for rank in range(2)]
    assert found[0][0] == pytest.approx(value.item(), rel=1e-6)
    assert found[1][0] == found[0][0]
    torch.testing.assert_close(torch.cat([one for _, one in found]), whole.logits.grad)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"name": "worst-group", "step": -0.1}, "not negative; got step=-0.1"),
        ({"name": "worst-group", "adjustment": float("inf")}, "adjustment=inf"),
        ({"name": "febs", "gamma": -1}, "gamma of febs is finite and not negative, got -1"),
        ({"name": "cvar", "tail": 0}, "tail of cvar is above 0, and 1 at most, got 0"),
        ({"name": "hard-cases", "share": 1.0}, "got share=1.0, factor=3.0"),
        ({"name": "hard-cases", "factor": 0.5}, "got share=0.2, factor=0.5"),
    ],
)
def test_options_out_of_their_range_are_refused(part, message):
    options = {name: value for name, value in part.items() if name != "name"}
    with pytest.raises(ConfigError, match=message):
        WEIGHTINGS[part["name"]]([5, 3], **options)
    MethodSpec(weighting=part)  # the name and the option are there


@pytest.mark.parametrize("name", OF_GROUPS)
def test_groups_need_an_attribute(name):
    with pytest.raises(ConfigError, match=f"{name} goes by groups, and no attribute is given"):
        WEIGHTINGS[name]([])
    assert METHODS[name].weighting == name
