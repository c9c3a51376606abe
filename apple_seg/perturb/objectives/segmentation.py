"""The segmentation loss of each case, against true masks or against the host's own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

PixelLoss = Callable[[Tensor, Tensor], Tensor]
"""Binary cross-entropy (N, K, *grid) and masks (N, K, *grid) to a loss of each pixel."""


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
            return self._softmax(logits, masks)
        chosen = logits[:, list(self.channels)]
        entropy = functional.binary_cross_entropy_with_logits(chosen, masks, reduction="none")
        return self._mean(entropy, masks) + dice_loss(chosen.sigmoid(), masks)

    def agreement(self, logits: Tensor, host_logits: Tensor) -> Tensor:
        """Return the same loss against the host's own probabilities: preservation, (N,).

        It is least, though not 0, where both say the same.
        """
        if self.activation == "softmax":
            target = host_logits.softmax(1)
            entropy = functional.cross_entropy(logits, target, reduction="none")
            dice = dice_loss(
                logits.softmax(1)[:, list(self.channels)], target[:, list(self.channels)]
            )
            return entropy.flatten(1).mean(1) + dice
        chosen, target = (one[:, list(self.channels)] for one in (logits, host_logits.sigmoid()))
        entropy = functional.binary_cross_entropy_with_logits(chosen, target, reduction="none")
        return entropy.flatten(1).mean(1) + dice_loss(chosen.sigmoid(), target)

    def _softmax(self, logits: Tensor, masks: Tensor) -> Tensor:
        target = torch.full_like(masks[:, 0], self.background, dtype=torch.long)
        for place, channel in enumerate(self.channels):
            target[masks[:, place] > 0] = channel
        entropy = functional.cross_entropy(logits, target, reduction="none")
        dice = dice_loss(logits.softmax(1)[:, list(self.channels)], masks)
        return self._mean(entropy[:, None], masks) + dice

    def _mean(self, entropy: Tensor, masks: Tensor) -> Tensor:
        each = entropy if self.pixels is None else self.pixels(entropy, masks)
        return each.flatten(1).mean(1)


def dice_loss(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Return the soft Dice loss of each case (N,), averaged over classes."""
    from monai.losses.dice import DiceLoss

    loss: Tensor = DiceLoss(reduction="none")(probabilities, masks)
    return loss.flatten(1).mean(1)


def _plain() -> None:
    """Leave every pixel as it is."""


LOSSES: Mapping[str, Callable[..., PixelLoss | None]] = {"dice-ce": _plain}
"""The segmentation losses that a file may name, each with its options as keywords."""
