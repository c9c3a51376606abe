"""Matching terms against double loops and by hand; on planted latents they remove the signal."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from apple_seg.errors import ConfigError
from apple_seg.perturb import METHODS, Outcome, pool
from apple_seg.perturb.objectives import TERMS
from apple_seg.perturb.objectives.kernels import alignment, gaussian, hsic, mmd, squared_distances
from apple_seg.perturb.objectives.matching import side_means

NAMES = ("hsic", "mmd", "moments", "class-moments")


def make(name, channels=4):
    return TERMS[name]([channels], [2])


def planted(n=64, seed=0, shift=2.5):
    """Latents of cases that differ, whose first channel tells the group, and the groups."""
    draw = torch.Generator().manual_seed(seed)
    latent = torch.randn(n, 4, 1, 1, generator=draw) + torch.randn(n, 4, 4, 4, generator=draw) / 2
    groups = torch.arange(n) % 2
    latent[:, 0] += shift * groups[:, None, None]
    return latent, groups


def outcome(latent, groups, *, masks=None, numbers=None, sizes=(2,)):
    if masks is None:
        masks = torch.zeros(len(latent), 1, 8, 8)
        masks[:, :, 2:6, 2:6] = 1
    codes = groups[:, None] if groups.ndim == 1 else groups
    return Outcome(masks, masks, (latent,), codes, sizes, numbers)


def kernels(n=7):
    draw = np.random.default_rng(0)
    values, codes = draw.normal(size=(n, 3)), np.arange(n) % 2
    distances = [math.dist(values[i], values[j]) for i in range(n) for j in range(i)]
    width = sorted(distances)[(len(distances) - 1) // 2]
    first, second = np.ones((n, n)), np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            first[i, j] = math.exp(-(math.dist(values[i], values[j]) ** 2) / (2 * width**2))
            second[i, j] = codes[i] == codes[j]
    return torch.from_numpy(values), torch.from_numpy(codes), first, second


def test_hsic_is_its_mean_over_four_different_cases():
    values, _, first, second = kernels()
    tuples = list(itertools.permutations(range(len(first)), 4))
    expected = sum(
        first[i, j] * (second[i, j] + second[q, r] - 2 * second[i, q]) for i, j, q, r in tuples
    ) / len(tuples)
    ours = gaussian(squared_distances(values))
    np.testing.assert_allclose(ours, first, rtol=1e-12)
    assert hsic(ours, torch.from_numpy(second)).item() == pytest.approx(expected, rel=1e-9)
    n, centre = len(first), np.eye(len(first)) - 1 / len(first)
    norms = [np.trace(centre @ k @ centre @ k) / (n - 1) ** 2 for k in (first, second)]
    expected /= math.sqrt(norms[0] * norms[1])
    assert alignment(ours, torch.from_numpy(second)).item() == pytest.approx(expected, rel=1e-9)


def test_mmd_is_its_double_loop():
    _, codes, first, _ = kernels()
    found = mmd(torch.from_numpy(first), codes == 0).item()
    sums, counts = {}, {}
    for i, j in itertools.permutations(range(len(first)), 2):
        pair = tuple(sorted((int(codes[i]), int(codes[j]))))
        sums[pair] = sums.get(pair, 0) + first[i, j]
        counts[pair] = counts.get(pair, 0) + 1
    means = {pair: sums[pair] / counts[pair] for pair in sums}
    assert found == pytest.approx(means[0, 0] + means[1, 1] - 2 * means[0, 1], rel=1e-12)


def test_moments_by_hand():
    """Pooled by one cell a case: group 0 at 0 and 2, group 1 at 4 and 8, deviations near 0."""
    latent = torch.tensor([0.0, 2.0, 4.0, 8.0]).view(4, 1, 1, 1)
    term = TERMS["moments"]([1], [2])
    found = term(outcome(latent, torch.tensor([0, 0, 1, 1])))
    # variance over all four: mean 3.5, squares 12.25 + 2.25 + .25 + 20.25 = 35, / 4 = 8.75
    expected = ((6 - 1) ** 2 + (2 - 1) ** 2) / 8.75
    assert found.item() == pytest.approx(expected / 2, rel=1e-3)  # the other channel is 0


def test_side_means_by_hand():
    """Cells of 2x2 pixels: the first wholly inside, the second by a half, two outside."""
    masks = torch.zeros(1, 1, 4, 4)
    masks[0, 0, :2, :3] = 1
    latent = torch.tensor([[[[1.0, 4.0], [10.0, 20.0]]]])
    found = side_means(latent, masks).flatten().tolist()
    assert found == pytest.approx([(1 + 0.5 * 4) / 1.5, (0.5 * 4 + 10 + 20) / 2.5])


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("kind", ["hsic", "mmd"])
def test_gradient_of_kernels(kind, scale):
    values = (scale * torch.randn(6, 3, dtype=torch.float64)).requires_grad_()
    width = squared_distances(values).detach()[torch.ones(6, 6).triu(1).bool()].median()
    inside = torch.arange(6) < 3
    same = (inside[:, None] == inside).double()

    def value(x):
        kernel = (-squared_distances(x) / (2 * width)).exp()  # as `gaussian`, the width being held
        return alignment(kernel, same) if kind == "hsic" else mmd(kernel, inside)

    assert torch.autograd.gradcheck(value, values)
    expected = torch.autograd.grad(value(values), values)[0]
    kernel = gaussian(squared_distances(values))
    ours = alignment(kernel, same) if kind == "hsic" else mmd(kernel, inside)
    torch.testing.assert_close(torch.autograd.grad(ours, values)[0], expected)


@pytest.mark.parametrize("name", NAMES)
def test_term_falls_without_the_signal_and_not_without_another_channel(name):
    latent, groups = planted(256)
    without, other = latent.clone(), latent.clone()
    without[:, 0] -= 2.5 * groups[:, None, None]
    other[:, 1] = torch.randn(256, 4, 4, generator=torch.Generator().manual_seed(9))
    full, less, same = (make(name)(outcome(one, groups)).item() for one in (latent, without, other))
    assert less < 0.2 * full
    assert same > 0.7 * full


@pytest.mark.parametrize("name", NAMES)
def test_unknown_cases_and_lone_groups_count_for_nothing(name):
    latent, groups = planted(12)
    groups[8:] = -1
    leaf = latent.clone().requires_grad_()
    value = make(name)(outcome(leaf, groups))
    value.backward()
    assert leaf.grad[:8].flatten(1).any(1).all()
    assert not leaf.grad[8:].any()
    fewer = make(name)(outcome(latent[:8], groups[:8]))
    torch.testing.assert_close(value.detach(), fewer)
    groups[torch.tensor([3, 5, 7])] = -1  # one of group 1 is left
    assert make(name)(outcome(latent, groups)) is None


@pytest.mark.parametrize("name", NAMES)
def test_terms_of_several_attributes_are_added(name):
    latent, first = planted(24)
    second = torch.arange(24) // 4 % 3
    both = outcome(latent, torch.stack([first, second], 1), sizes=(2, 3))
    term = TERMS[name]([4], [2, 3])
    alone = term(outcome(latent, first)), term(outcome(latent, second, sizes=(3,)))
    torch.testing.assert_close(term(both), alone[0] + alone[1])
    gone = torch.stack([first, torch.full_like(first, -1)], 1)
    torch.testing.assert_close(term(outcome(latent, gone, sizes=(2, 3))), alone[0])


def test_hsic_heeds_numbers_known_of_some():
    latent, groups = planted(128, shift=0.0)
    numbers = torch.randn(128, 1, generator=torch.Generator().manual_seed(5))
    latent[:, 1] += 2.5 * numbers[:, :, None]
    numbers[100:] = float("nan")
    unknown, term = torch.full_like(groups, -1), make("hsic")
    told = term(outcome(latent, unknown, numbers=numbers))
    shuffled = term(outcome(latent, unknown, numbers=numbers.roll(7, 0)))
    assert told > 0.1
    assert abs(shuffled) < 0.2 * told
    assert term(outcome(latent, unknown, numbers=numbers * float("nan"))) is None
    assert term(outcome(latent, unknown, numbers=numbers * 0)) is None
    leaf = latent.clone().requires_grad_()
    term(outcome(leaf, groups, numbers=numbers)).backward()
    assert leaf.grad.isfinite().all()


def test_larger_lesions_are_punished_by_moments_and_not_by_class_moments():
    draw = torch.Generator().manual_seed(0)
    groups, masks = torch.arange(64) % 2, torch.zeros(64, 1, 16, 16)
    for case, group in enumerate(groups):
        side = 4 + 8 * int(group)
        masks[case, 0, :side, :side] = 1
    cells = torch.nn.functional.avg_pool2d(masks, 2)
    latent = 3 * cells + torch.randn(64, 2, 8, 8, generator=draw)
    pooled, by_class = (TERMS[name]([2], [2]) for name in NAMES[2:])
    assert pooled(outcome(latent, groups, masks=masks)) > 1
    assert by_class(outcome(latent, groups, masks=masks)) < 0.1
    brighter = latent + 2 * cells * groups[:, None, None, None]
    assert by_class(outcome(brighter, groups, masks=masks)) > 1


def test_masks_of_the_covered_part_come_to_the_cells_of_the_whole_grid():
    """The host saw 16x16 pixels, images covered 8x16: the lower cells are padding."""
    latent, groups = planted(16)
    whole = torch.zeros(16, 1, 16, 16)
    whole[:, :, 2:8, 2:7] = 1
    term = make("class-moments")
    expected = term(outcome(latent, groups, masks=whole))
    part = outcome(latent, groups, masks=whole[:, :, :8])
    assert abs(term(part) - expected) > 1e-3
    found = term(dataclasses.replace(part, whole=(16, 16)))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_cases_without_the_class_count_for_the_side_they_have():
    latent, groups = planted(16)
    masks = outcome(latent, groups).masks.clone()
    masks[8:] = 0
    moved = latent.clone()
    moved[8:, 1] += torch.randn(8, 4, 4)
    leaf = moved.requires_grad_()
    make("class-moments")(outcome(leaf, groups, masks=masks)).backward()
    assert leaf.grad.isfinite().all()
    assert leaf.grad[8:].any()
    assert make("class-moments")(outcome(latent, groups, masks=masks * 0)) is not None


def test_tokens_have_no_cells_for_class_moments_to_use():
    latent, groups = planted(8)
    with pytest.raises(ConfigError, match="leave the site out"):
        make("class-moments")(outcome(latent.flatten(2), groups))


def leak(change):
    """Return the AUC of a logistic regression, fitted anew, on other cases."""
    with torch.no_grad():
        (fitted, known), (asked, truth) = planted(400, 101), planted(400, 102)
        features, others = (pool([change(one)]).numpy() for one in (fitted, asked))
    centre, scale = features.mean(0), features.std(0)
    probe = LogisticRegression(max_iter=2000).fit((features - centre) / scale, known)
    return roc_auc_score(truth, probe.decision_function((others - centre) / scale))


def fitted(name, *, shuffle):
    """Return a free mixing of channels that was fitted with a term, near the identity."""
    torch.manual_seed(0)
    term, weight_of_term = make(name), {"mmd": 3.0}.get(name, 1.0)
    weight = torch.zeros(4, 4, requires_grad=True)
    latent, groups = planted(512)
    if shuffle:
        groups = groups[torch.randperm(512)]
    optimizer = torch.optim.Adam([weight], 0.03)
    for _ in range(220):
        rows = torch.randperm(512)[:64]
        moved = torch.einsum("oc,nchw->nohw", weight, latent[rows])
        loss = weight_of_term * term(outcome(latent[rows] + moved, groups[rows]))
        loss = loss + 0.005 * moved.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return lambda one: one + torch.einsum("oc,nchw->nohw", weight, one)


@pytest.mark.parametrize("name", NAMES)
def test_free_perturbation_removes_the_group_and_a_control_does_not(name):
    assert leak(lambda one: one) > 0.9
    assert leak(fitted(name, shuffle=False)) < 0.65
    assert leak(fitted(name, shuffle=True)) > 0.85


def test_methods_by_these_names_use_these_terms():
    for name in NAMES[:3]:
        assert [*METHODS[name].terms] == [name]
