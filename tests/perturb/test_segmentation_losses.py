"""Losses of pixels by other libraries and by hand; agreement is best where nothing has changed."""

import math

import numpy as np
import pytest
import torch
from monai.losses.dice import DiceLoss
from scipy import ndimage
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from apple_seg.errors import ConfigError
from apple_seg.perturb import MethodSpec, SegmentationLoss
from apple_seg.perturb.objectives import LOSSES
from apple_seg.perturb.objectives.segmentation import contour_band, soft_dice_loss


def blob(shape, seed=0):
    """Masks of smooth random shapes, some of which touch the border."""
    draw = np.random.default_rng(seed).normal(size=shape)
    return torch.from_numpy(ndimage.gaussian_filter(draw, [0, 0, *[2] * (len(shape) - 2)]) > 0)


def pixels_of(loss, logits, masks):
    """Return the part of the loss that is no Dice."""
    return loss(logits, masks) - loss.dice(logits, masks)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_that_of_torchvision(gamma):
    logits = 3 * torch.randn(2, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    masks = blob(logits.shape).float()
    found = pixels_of(
        SegmentationLoss("sigmoid", [0, 1], 0, LOSSES["focal"](gamma=gamma)), logits, masks
    )
    expected = sigmoid_focal_loss(logits, masks, alpha=-1, gamma=gamma).flatten(1).mean(1)
    torch.testing.assert_close(found, expected)
    plain = pixels_of(SegmentationLoss("sigmoid", [0, 1]), logits, masks)
    if gamma == 0:
        torch.testing.assert_close(found, plain, rtol=0, atol=0)
    else:
        assert (found < 0.95 * plain).all()


def test_focal_loss_of_a_softmax_by_hand():
    """Three channels at logits 0 give p_t = 1/3: (2/3)^2 * log 3."""
    loss = SegmentationLoss("softmax", [1, 2], 0, LOSSES["focal"](gamma=2.0))
    masks = torch.zeros(1, 2, 2, 2)
    masks[0, 0, 0, 0] = masks[0, 1, 1, 1] = 1
    found = pixels_of(loss, torch.zeros(1, 3, 2, 2), masks)
    assert found.item() == pytest.approx((2 / 3) ** 2 * math.log(3))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_has_a_right_gradient_and_a_finite_one_where_all_is_right(gamma):
    loss = SegmentationLoss("sigmoid", [0], 0, LOSSES["focal"](gamma=gamma))
    masks = blob((1, 1, 3, 3)).double()
    logits = torch.randn(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda one: loss(one, masks), logits)
    sure = (200 * (2 * masks.float() - 1)).requires_grad_()
    loss(sure, masks.float()).sum().backward()
    assert sure.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(2, 2, 17, 20), (1, 2, 8, 9, 10)], ids=["2d", "3d"])
@pytest.mark.parametrize("width", [1, 3])
def test_band_is_dilation_without_erosion(shape, width):
    masks = blob(shape)
    found = contour_band(masks.float(), width)
    square = np.ones([2 * width + 1] * (len(shape) - 2))
    for found_plane, mask in zip(found.flatten(0, 1), masks.flatten(0, 1).numpy(), strict=True):
        grown = ndimage.binary_dilation(mask, square)
        shrunk = ndimage.binary_erosion(mask, square, border_value=1)
        np.testing.assert_array_equal(found_plane.numpy(), grown & ~shrunk)
    assert 0.1 < float(found.mean()) < 1


def test_edge_loss_by_hand_and_only_on_the_edge():
    """Of five pixels in a row three are right and far, one is wrong: near the contour, or not."""
    loss = SegmentationLoss("sigmoid", [0], 0, LOSSES["edge"](width=1, factor=5.0))
    plain = SegmentationLoss("sigmoid", [0])
    masks = torch.tensor([[[1.0, 1, 1, 0, 0, 0]]])  # near are the third and the fourth
    entropy = math.log(1 + math.exp(2))
    for wrong, weight in ((2, 5), (0, 1)):
        logits = 40 * (2 * masks - 1)
        logits[0, 0, wrong] = -2.0
        found = pixels_of(loss, logits, masks).item()
        assert found == pytest.approx(weight * entropy / (4 * 1 + 2 * 5), rel=1e-4)
        assert pixels_of(plain, logits, masks).item() == pytest.approx(entropy / 6, rel=1e-4)


def test_empty_masks_have_no_edge_and_the_plain_loss():
    logits = torch.randn(2, 1, 6, 6)
    for masks in (torch.zeros_like(logits), torch.ones_like(logits)):
        found = SegmentationLoss("sigmoid", [0], 0, LOSSES["edge"]())(logits, masks)
        torch.testing.assert_close(found, SegmentationLoss("sigmoid", [0])(logits, masks))


def test_edge_of_a_softmax_is_near_any_class():
    loss = SegmentationLoss("softmax", [1, 2], 0, LOSSES["edge"](width=1, factor=3.0))
    masks = torch.zeros(1, 2, 9)
    masks[0, 0, :2] = masks[0, 1, 7:] = 1
    logits = torch.randn(1, 3, 9, generator=torch.Generator().manual_seed(1))
    target = torch.tensor([[1, 1, 0, 0, 0, 0, 0, 2, 2]])
    entropy = functional.cross_entropy(logits, target, reduction="none")
    weights = torch.tensor([1.0, 3, 3, 1, 1, 1, 3, 3, 1])
    expected = (entropy * weights).sum(1) / weights.sum()
    torch.testing.assert_close(pixels_of(loss, logits, masks), expected)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_agreement_is_best_where_nothing_has_changed(activation, name):
    """Its gradient is 0 there, and not where the perturbed masks are other ones."""
    pixels = LOSSES[name]()
    loss = SegmentationLoss(activation, [1, 2], 0, pixels)
    host = torch.randn(2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    same = host.clone().requires_grad_()
    at_host = loss.agreement(same, host)
    assert float(torch.autograd.grad(at_host.sum(), same)[0].abs().max()) < 1e-9
    for seed in range(3):
        away = 0.1 * torch.randn(host.shape, generator=torch.Generator().manual_seed(seed)).double()
        moved = (host + away).requires_grad_()
        found = loss.agreement(moved, host)
        assert (found > at_host).all()
        assert float(torch.autograd.grad(found.sum(), moved)[0].abs().max()) > 1e-4


def test_dice_of_soft_planes_is_monais_where_they_are_hard_and_stays_at_soft_ones():
    probabilities = torch.rand(2, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    masks = blob(probabilities.shape).float()
    monai = DiceLoss(reduction="none")
    expected = monai(probabilities, masks).flatten(1).mean(1)
    torch.testing.assert_close(soft_dice_loss(probabilities, masks), expected)
    same = probabilities.clone().requires_grad_()
    ours = torch.autograd.grad(soft_dice_loss(same, probabilities).sum(), same)[0]
    theirs = torch.autograd.grad(monai(same, probabilities).sum(), same)[0]
    assert not ours.any()
    assert theirs.any()  # would drive the perturbed masks away from the host's


def test_agreement_with_a_host_that_is_sure_is_the_loss_of_its_masks():
    masks = blob((2, 1, 6, 6)).float()
    logits = torch.randn(2, 1, 6, 6)
    for name in LOSSES:
        loss = SegmentationLoss("sigmoid", [0], 0, LOSSES[name]())
        found = loss.agreement(logits, 200 * (2 * masks - 1))
        torch.testing.assert_close(found, loss(logits, masks))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"name": "focal", "gamma": -1.0}, "finite and not negative, got -1"),
        ({"name": "edge", "width": 0}, "1 or more; got width=0, factor=5.0"),
        ({"name": "edge", "width": 1.5}, "got width=1.5"),
        ({"name": "edge", "factor": 0.5}, "got width=2, factor=0.5"),
    ],
)
def test_options_out_of_their_range_are_refused(part, message):
    options = {name: value for name, value in part.items() if name != "name"}
    with pytest.raises(ConfigError, match=message):
        LOSSES[part["name"]](**options)
    MethodSpec(loss=part)  # the name and the option are there
