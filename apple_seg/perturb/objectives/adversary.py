"""A discriminator that guesses the sensitive attribute, and is to be wrong and unsure."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from apple_seg.perturb.objectives.discriminator import Discriminator
from apple_seg.perturb.objectives.outcome import Attribute, Outcome


class Adversary(nn.Module):
    """APPLE's fairness loss: the discriminator is to be wrong, and unsure (Xu et al. 2024).

    By its parent FAAP (Wang et al., CVPR 2022): `-CE(D(f_p), a) - entropy * H(D(f_p))`.
    The entropy keeps the perturber from merely swapping the groups' looks, which a discriminator
    could swap back. The discriminator takes one step on detached latents before each step of the
    perturber. Cases of unknown group count for neither. With several attributes it guesses each,
    and the losses are added.

    Args:
        channels: Of the latent at each site.
        sizes: How many groups each attribute has.
        entropy: Weight of the entropy (not published; FAAP's code has 0.25).
        learning_rate: Of the discriminator (not published).
    """

    def __init__(
        self,
        channels: Sequence[int],
        sizes: Sequence[int],
        *,
        entropy: float = 0.1,
        learning_rate: float = 1e-3,
    ) -> None:
        super().__init__()
        self.entropy = entropy
        self.sizes = tuple(sizes)
        self.discriminator = Discriminator(channels, sum(sizes))
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), learning_rate)

    def observe(self, outcome: Outcome) -> dict[str, float]:
        """Take one step of the discriminator on what the perturber gives now."""
        known = known_to_any(outcome)
        if int(known.sum()) < 2:
            return {}
        guesses = self._guess(outcome.pooled.detach()[known])
        attributes = of_known(outcome, known)
        pairs = list(zip(guesses, attributes, strict=True))
        loss = torch.stack([_cross_entropy(guess, one) for guess, one in pairs]).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        right = [(g.argmax(1) == one.codes)[one.known].float().mean() for g, one in pairs]
        accuracy = torch.stack(right).nanmean()
        return {"discriminator": loss.item(), "discriminator_accuracy": accuracy.item()}

    def forward(self, outcome: Outcome) -> Tensor | None:
        """Return the fairness loss; a batch with fewer than two known cases has none."""
        known = known_to_any(outcome)
        if int(known.sum()) < 2:
            return None
        guesses = self._guess(outcome.pooled[known])
        attributes = of_known(outcome, known)
        losses = [
            fairness_loss(guess[one.known], one.codes[one.known], entropy=self.entropy)
            for guess, one in zip(guesses, attributes, strict=True)
            if one.known.any()
        ]
        return torch.stack(losses).sum()

    def get_extra_state(self) -> dict[str, Any]:
        """Return the optimiser's state, for a fit that is resumed."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up the optimiser's state."""
        self.optimizer.load_state_dict(state)

    def _guess(self, pooled: Tensor) -> Sequence[Tensor]:
        guesses: Tensor = self.discriminator(pooled)
        return torch.split(guesses, list(self.sizes), 1)


def fairness_loss(guesses: Tensor, groups: Tensor, *, entropy: float) -> Tensor:
    """Return `-CE - entropy * H` of guesses (N, A) at groups (N,), a mean over cases."""
    log_p = guesses.log_softmax(-1)
    unsure = -(log_p.exp() * log_p).sum(-1).mean()
    return -functional.cross_entropy(guesses, groups) - entropy * unsure


def known_to_any(outcome: Outcome) -> Tensor:
    """Return (N,), whether some attribute of a case is known."""
    return torch.stack([one.known for one in outcome.attributes]).any(0)


def of_known(outcome: Outcome, rows: Tensor) -> list[Attribute]:
    """Return the attributes of some cases of the batch."""
    return [Attribute(one.codes[rows], one.groups) for one in outcome.attributes]


def _cross_entropy(guesses: Tensor, attribute: Attribute) -> Tensor:
    """Return the mean over cases of known group; 0 where there are none."""
    if not attribute.known.any():
        return guesses.sum() * 0
    return functional.cross_entropy(guesses, attribute.codes, ignore_index=-1)
