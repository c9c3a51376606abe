"""The gap as a loss, and preservation: values by hand, and whom the gradients reach."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from apple_seg.errors import ConfigError
from apple_seg.perturb import METHODS, Objective
from apple_seg.perturb.objectives import TERMS, WEIGHTINGS
from judged import LOSS, judged


def gap(sizes=(2,), **options):
    return TERMS["gap"]([8], list(sizes), **{"memory": 0.0, **options})


def means_of(outcome, codes):
    losses, codes = outcome.losses.detach().numpy(), np.array(codes)
    return {g: float(losses[codes == g].mean()) for g in {*codes.tolist()} - {-1}}


@pytest.mark.parametrize("deviation", ["squared", "absolute"])
def test_gap_is_how_much_worse_the_groups_are_than_the_best(deviation):
    codes = [0, 1, 2, 0, 1, 2, -1]
    outcome = judged(codes, sizes=(3,))
    means = means_of(outcome, codes)
    apart = [mean - min(means.values()) for mean in means.values()]
    power = {"squared": 2, "absolute": 1}[deviation]
    term = gap((3,), deviation=deviation)
    expected = sum(one**power for one in apart)
    assert term(outcome).item() == pytest.approx(expected, rel=1e-4)
    assert expected > 0.01


@pytest.mark.parametrize(("deviation", "slope"), [("squared", None), ("absolute", 1.0)])
def test_gradient_is_that_of_the_group_served_worse_alone(deviation, slope):
    codes = [0, 0, 1, 1, -1]
    outcome = judged(codes)  # later cases are worse
    term = gap(deviation=deviation)
    term.observe(outcome)
    term(outcome).backward()
    means = means_of(outcome, codes)
    slope = slope or 2 * (means[1] - means[0])
    assert not outcome.logits.grad[:2].any()  # making the better group worse does not pay
    assert not outcome.logits.grad[4:].any()
    leaf = outcome.logits.detach().requires_grad_()
    LOSS(leaf, outcome.masks)[2:4].mean().backward()
    assert leaf.grad[2:4].any()
    torch.testing.assert_close(outcome.logits.grad[2:4], slope * leaf.grad[2:4])


def test_step_down_the_gap_lifts_the_worse_group_and_costs_the_better_one_nothing():
    codes = [0, 0, 1, 1]
    outcome = judged(codes)
    gap()(outcome).backward()
    after = replace(outcome, logits=outcome.logits.detach() - 50 * outcome.logits.grad)
    before, after = means_of(outcome, codes), means_of(after, codes)
    assert after[1] < before[1] - 0.05
    assert after[0] == before[0]


def test_gap_remembers_over_batches_and_the_gradient_is_the_batchs():
    codes, memory = [0, 0, 1, 1], 0.8
    first, second = judged(codes), judged(codes, seed=5, shift=1.0)
    term = gap(memory=memory)
    term.observe(first)
    told = term.observe(second)
    old, new = means_of(first, codes), means_of(second, codes)
    running = {g: memory * old[g] + (1 - memory) * new[g] for g in old}
    apart = running[1] - running[0]
    assert told == {"largest_gap": pytest.approx(apart, rel=1e-4)}
    value = term(second)
    assert value.item() == pytest.approx(apart**2, rel=1e-4)
    assert abs(apart - (new[1] - new[0])) > 0.01
    value.backward()
    leaf = second.logits.detach().requires_grad_()
    LOSS(leaf, second.masks)[2:].mean().backward()
    torch.testing.assert_close(second.logits.grad, 2 * apart * leaf.grad)


def test_one_group_alone_has_no_gap_until_another_was_seen():
    term = gap(memory=0.9)
    alone = judged([1, 1, 1, -1])
    assert term.observe(alone) == {}
    assert term(alone) is None
    assert term(judged([-1, -1])) is None
    both, codes = judged([0, 0, 0, 1], seed=2), [0, 0, 0, 1]
    term.observe(both)
    best = means_of(both, codes)[0]
    again = judged([1, 1, 1, -1], shift=1.0)
    term.observe(again)
    assert term.means[0].item() == pytest.approx(best)  # a missing group keeps its mean
    value = term(again)
    assert value.item() == pytest.approx((term.means[1].item() - best) ** 2, rel=1e-4)
    value.backward()
    assert again.logits.grad[:3].any()


def test_gaps_of_several_attributes_add_up():
    codes = torch.tensor([[0, 1], [0, 0], [1, 1], [1, 0], [1, 2], [0, -1]])
    both = gap((2, 3))(judged(codes, sizes=(2, 3))).item()
    apart = [
        gap((size,))(judged(codes[:, place], sizes=(size,))).item()
        for place, size in enumerate((2, 3))
    ]
    assert both == pytest.approx(sum(apart), rel=1e-5)
    assert min(apart) > 0


def test_gap_has_a_right_gradient():
    codes = [0, 1, 2, 1]
    outcome = judged(codes, sizes=(3,), dtype=torch.float64)
    means = means_of(outcome, codes)
    best = min(means, key=means.get)
    term = gap((3,)).double()
    worse = [place for place, code in enumerate(codes) if code != best]

    def value(rows):
        logits = outcome.logits.detach().clone().index_put((torch.tensor(worse),), rows)
        return term(replace(outcome, logits=logits))

    leaf = outcome.logits.detach()[worse].requires_grad_()
    assert torch.autograd.gradcheck(value, leaf)


def test_resumed_gap_is_that_which_was_saved():
    def objective():
        return Objective(LOSS, WEIGHTINGS["equal"]([]), {"gap": (2.0, gap(memory=0.9))})

    first, resumed, new = objective(), objective(), objective()
    first.observe(judged([0, 0, 1, 1]))
    resumed.load_state_dict(first.state_dict())
    outcome = judged([0, 1, 0, 1], seed=4)
    told = [one.observe(outcome) for one in (first, resumed, new)]
    values = [one(outcome)["gap"].item() for one in (first, resumed, new)]
    assert told[0] == told[1] != told[2]
    assert values[0] == values[1] != values[2]


def test_options_out_of_their_range_are_refused():
    with pytest.raises(ConfigError, match="deviation='cubed', memory=0"):
        gap(deviation="cubed")
    with pytest.raises(ConfigError, match="memory=1\\.0"):
        gap(memory=1.0)
    with pytest.raises(ConfigError, match="gap goes by groups, and no attribute is given"):
        gap(())
    assert METHODS["gap"].terms == {"gap": 10.0}


def test_preservation_holds_on_to_the_host_and_asks_for_no_groups():
    term = TERMS["preserve"]([8], [])
    outcome = judged([-1, -1, -1])
    term(outcome).backward()
    assert outcome.logits.grad.flatten(1).any(1).all()
    expected = LOSS.agreement(outcome.logits, outcome.host_logits).mean()
    assert term(outcome).item() == pytest.approx(expected.item())
    same = replace(outcome, logits=outcome.host_logits.clone().requires_grad_())
    value = term(same)
    value.backward()
    assert float(same.logits.grad.abs().max()) < 1e-7
    assert value < term(outcome)


def test_preservation_is_the_segmentation_loss_itself_where_there_are_no_masks():
    terms = {"preserve": (0.5, TERMS["preserve"]([8], []))}
    objective = Objective(LOSS, WEIGHTINGS["equal"]([]), terms, target="host")
    found = objective(judged([-1, -1, -1], target="host"))
    assert found["preserve"].item() == pytest.approx(0.5 * found["segmentation"].item())
