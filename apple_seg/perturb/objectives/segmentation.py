"""The segmentation loss of each case, against true masks or against the host's own."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from apple_seg.errors import ConfigError

PixelLoss = Callable[[Tensor, Tensor], Tensor]
"""Cross-entropy (N, K or 1, *grid) and masks (N, K, *grid), 0 to 1, to a loss of each pixel."""


@dataclass(frozen=True)
class SegmentationLoss:
    """Dice loss (MONAI's) plus a cross-entropy over pixels, a number a case."""

    activation: str
    """"sigmoid" or "softmax"."""

    channels: Sequence[int]
    """Of the logits, a class each, in the order of the masks."""

    background: int = 0
    """The softmax channel that is no class."""

    pixels: PixelLoss | None = None
    """What becomes of the cross-entropy of each pixel before their mean; None leaves it."""

    def __call__(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Return the loss of each case (N,) from logits (N, K', *grid), masks (N, K, *grid)."""
        if self.activation == "softmax":
            entropy = functional.cross_entropy(logits, self._classes(masks), reduction="none")
            return self._mean(entropy[:, None], masks) + self.dice(logits, masks)
        chosen = logits[:, list(self.channels)]
        entropy = functional.binary_cross_entropy_with_logits(chosen, masks, reduction="none")
        return self._mean(entropy, masks) + self.dice(logits, masks)

    def agreement(self, logits: Tensor, host_logits: Tensor) -> Tensor:
        """Return the same loss against the host's own probabilities: preservation, (N,).

        It is least, though not 0, where both say the same. So that this holds for the Dice part
        too, that is the semimetric form |p - t| / (|p| + |t|) (Wang et al., arXiv 2303.16296): the
        very soft Dice loss where t is 0 or 1, which is not least at p = t anywhere else.
        """
        planes = self.probabilities(host_logits)
        if self.activation == "softmax":
            target = host_logits.softmax(1)
            entropy = functional.cross_entropy(logits, target, reduction="none")[:, None]
        else:
            chosen = logits[:, list(self.channels)]
            entropy = functional.binary_cross_entropy_with_logits(chosen, planes, reduction="none")
        return self._mean(entropy, planes) + soft_dice_loss(self.probabilities(logits), planes)

    def dice(self, logits: Tensor, masks: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the Dice part of each case (N,); `scale` (N,) is put on its probabilities."""
        probabilities = self.probabilities(logits)
        if scale is not None:
            probabilities = probabilities * scale.view(-1, *[1] * (logits.ndim - 1))
        return dice_loss(probabilities, masks)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return those of the classes, (N, K, *grid)."""
        if self.activation == "softmax":
            return logits.softmax(1)[:, list(self.channels)]
        return logits[:, list(self.channels)].sigmoid()

    def _classes(self, masks: Tensor) -> Tensor:
        """Return the channel that is right for each pixel (N, *grid)."""
        target = torch.full_like(masks[:, 0], self.background, dtype=torch.long)
        for place, channel in enumerate(self.channels):
            target[masks[:, place] > 0] = channel
        return target

    def _mean(self, entropy: Tensor, masks: Tensor) -> Tensor:
        each = entropy if self.pixels is None else self.pixels(entropy, masks)
        return each.flatten(1).mean(1)


def dice_loss(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Return the soft Dice loss of each case (N,), averaged over classes."""
    from monai.losses.dice import DiceLoss

    loss: Tensor = DiceLoss(reduction="none")(probabilities, masks)
    return loss.flatten(1).mean(1)


def soft_dice_loss(probabilities: Tensor, planes: Tensor) -> Tensor:
    """Return the Dice loss of each case (N,) against planes (N, K, *grid) anywhere from 0 to 1."""
    apart = (probabilities - planes).abs().flatten(2).sum(2)
    size = (probabilities + planes).flatten(2).sum(2)
    return (apart / (size + 1e-5)).mean(1)


def _plain() -> None:
    """Leave every pixel as it is."""


def focal(*, gamma: float = 2.0) -> PixelLoss:
    """Let pixels that are right already count less (Lin et al. 2017, arXiv 1708.02002).

    `(1 - p_t)^gamma * CE`, where `p_t = exp(-CE)` is the probability of what is true. Without the
    paper's class weights: the Dice part sees to small masks. As in the paper, the mean over pixels
    is not scaled up again, so that the Dice part counts more beside it.

    Args:
        gamma: 0 or more; 0 is the plain cross-entropy.

    Raises:
        ConfigError: Gamma is negative or not finite.
    """
    if not 0 <= gamma < math.inf:
        raise ConfigError(f"gamma of the focal loss is finite and not negative, got {gamma}")

    def each(entropy: Tensor, _masks: Tensor) -> Tensor:
        # At p_t = 1 a power below 1 has no finite slope, and the cross-entropy rounds to 0 there.
        wrong = (-torch.expm1(-entropy)).clamp_min(1e-7)
        return wrong**gamma * entropy

    return each


def edge(*, width: int = 2, factor: float = 5.0) -> PixelLoss:
    """Let pixels near the true contour count `factor` times, the other ones once.

    Near are those from which a square (a cube) of `width` pixels to each side holds some of a mask
    and some of what is none: max-pooling minus min-pooling of the mask. The border of the image is
    no contour. In each case and class the weights have a mean of 1, so that the loss keeps its
    size beside the Dice part; an empty mask has the plain cross-entropy. With a softmax, near is
    what is near to any class. Weights by the distance to borders are of Ronneberger et al. 2015
    (arXiv 1505.04597); the band, its width and its factor are decided here.

    Args:
        width: In pixels of the host's input (voxels), 1 or more.
        factor: 1 or more.

    Raises:
        ConfigError: Width or factor is less than 1.
    """
    if int(width) != width or width < 1 or not 1 <= factor < math.inf:
        raise ConfigError(
            f"an edge has a whole width and a finite factor, 1 or more; got width={width}, "
            f"factor={factor}"
        )

    def each(entropy: Tensor, masks: Tensor) -> Tensor:
        near = contour_band(masks, int(width))
        if entropy.shape[1] == 1:
            near = near.amax(1, keepdim=True)
        weights = 1 + (factor - 1) * near
        axes = tuple(range(2, weights.ndim))
        return entropy * weights / weights.mean(axes, keepdim=True)

    return each


def contour_band(masks: Tensor, width: int) -> Tensor:
    """Return the pixels (N, K, *grid) within `width` of the contour of masks: 1, others 0."""
    pool = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
    inside = (masks > 0.5).float()
    both = torch.cat([inside, -inside])
    # Axis by axis: as much as at once, in far fewer comparisons. What pooling adds around the image
    # is less than anything: no pixel, of a mask or not.
    for here in torch.eye(masks.ndim - 2, dtype=torch.int).tolist():
        window, padding = [2 * width * one + 1 for one in here], [width * one for one in here]
        both = pool[masks.ndim - 2](both, window, stride=1, padding=padding)
    most, least = both.chunk(2)
    return most + least


LOSSES: Mapping[str, Callable[..., PixelLoss | None]] = {
    "dice-ce": _plain,
    "focal": focal,
    "edge": edge,
}
"""The segmentation losses that a file may name, each with its options as keywords."""
