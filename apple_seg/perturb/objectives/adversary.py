"""Discriminators that guess the sensitive attribute, and are to be wrong and unsure."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from apple_seg.errors import ConfigError
from apple_seg.perturb.objectives.discriminator import JointDiscriminator, Seen
from apple_seg.perturb.objectives.guesses import (
    Truth,
    guessing_loss,
    prevention_loss,
    skill,
)
from apple_seg.perturb.objectives.outcome import Attribute, Outcome
from apple_seg.perturb.objectives.panel import Panel
from apple_seg.perturb.objectives.penalty import slope_penalty
from apple_seg.perturb.objectives.schedule import LeakageSchedule


class Adversary(nn.Module):
    """APPLE's fairness loss: the discriminator is to be wrong, and unsure (Xu et al. 2024).

    By its parent FAAP (Wang et al., CVPR 2022): `-CE(D(f_p), a) - entropy * H(D(f_p))`.
    The entropy keeps the perturber from merely swapping the groups' looks, which a discriminator
    could swap back. The discriminator takes one step on detached latents before each step of the
    perturber. Cases of unknown group count for neither. With several attributes it guesses each,
    and the losses are added.

    Numbers (age in years) are guessed by a linear head, and each adds to both losses: the
    discriminator minimises the squared error (Zheng et al., arXiv 2502.04386, for age), the
    perturber `max(0, Var(y) - MSE) + entropy * Var(D(f_p))` over the batch, with y in standard
    deviations of the train cases. The first is the variance explained; it ends at 0, where a
    plain -MSE would go on to reward guesses that are wrong in a way that can be turned round. The
    second is unsureness: who knows nothing guesses the same of all. Decided here.

    With its defaults it is as published. The options are means to keep an adversary honest.

    Args:
        channels: Of the latent at each site.
        sizes: How many groups each attribute has.
        numbers: How many numbers are guessed as well.
        entropy: Weight of the entropy (not published; FAAP's code has 0.25), 0 or more.
        learning_rate: Of the discriminators (not published), above 0.
        discriminators: How many, 1 or more; the loss is the mean of theirs.
        spatial: Beside each, 1x1 kernels at each site that guess from single cells.
        reset_every: Steps of the discriminators after which one, in turn, starts anew; 0 never.
        gradient_penalty: Weight gamma of `gamma / 2 * |d s / d pooled|^2` (R1; Mescheder et al.
            2018, arXiv 1801.04406), 0 or more. s is the log-odds of a case's own group; the pooled
            latents are in deviations of the batch, so that a gamma means the same at every host;
            see `penalty.slope_penalty`. Guesses of numbers are not penalised.
        steps: Of the discriminators for one of the perturber, 1 or more.
        last_norm: Whether the last block has its BatchNorm, as published; see `Discriminator`.
        ceiling: AUC of a fresh probe, above 0.5 and below 1, over which the loss counts for more
            after an epoch, and under which for less; see `LeakageSchedule`. 0 leaves it.

    Raises:
        ConfigError: An option is out of its range, or there is no attribute to guess.
    """

    def __init__(
        self,
        channels: Sequence[int],
        sizes: Sequence[int],
        numbers: int = 0,
        *,
        entropy: float = 0.1,
        learning_rate: float = 1e-3,
        discriminators: int = 1,
        spatial: bool = False,
        reset_every: int = 0,
        gradient_penalty: float = 0.0,
        steps: int = 1,
        last_norm: bool = True,
        ceiling: float = 0.0,
    ) -> None:
        super().__init__()
        _check(bool(sizes), "a sensitive attribute with groups to guess", "none")
        for name, value in (("entropy", entropy), ("gradient_penalty", gradient_penalty)):
            _check(0 <= value < math.inf, f"{name} of 0 or more", value)
        _check(0 < learning_rate < math.inf, "a learning_rate above 0", learning_rate)
        for name, count, least in (
            ("discriminators", discriminators, 1),
            ("steps", steps, 1),
            ("reset_every", reset_every, 0),
        ):
            whole = isinstance(count, int) and count >= least
            _check(whole, f"{name} as a whole number from {least}", count)
        _check(ceiling == 0 or 0.5 < ceiling < 1, "a ceiling of 0, or from 0.5 to 1", ceiling)
        self.entropy, self.gradient_penalty, self.steps = entropy, gradient_penalty, steps
        self.sizes, self.numbers = tuple(sizes), numbers
        make = partial(
            JointDiscriminator,
            tuple(channels),
            sum(sizes),
            numbers=numbers,
            spatial=spatial,
            last_norm=last_norm,
        )
        self.panel = Panel(
            make, discriminators, learning_rate=learning_rate, reset_every=reset_every
        )
        self.schedule = LeakageSchedule(ceiling) if ceiling else None

    def observe(self, outcome: Outcome) -> dict[str, float]:
        """Let the discriminators learn from what the perturber gives now."""
        truth = Truth.of(outcome, numbers=self.numbers > 0)
        if int(truth.rows.sum()) < 2:
            return {}
        seen = Seen(
            outcome.pooled.detach()[truth.rows],
            [latent.detach() for latent in outcome.latents],
            truth.rows,
            outcome.gather,
        )
        if self.schedule is not None:
            self.schedule.keep(seen.pooled, truth)
        columns = zip(outcome.groups.unbind(1), self.sizes, strict=True)
        own = [Attribute(*one) for one in columns]
        for _ in range(self.steps):
            notes = self._learn(seen, truth, own)
        return {name: sum(one[name] for one in notes) / len(notes) for name in notes[0]}

    def forward(self, outcome: Outcome) -> Tensor | None:
        """Return the fairness loss; a batch with fewer than two known cases has none."""
        truth = Truth.of(outcome, numbers=self.numbers > 0)
        if int(truth.rows.sum()) < 2:
            return None
        seen = Seen(outcome.pooled[truth.rows], outcome.latents, truth.rows, outcome.gather)
        losses = torch.stack(
            [prevention_loss(one(seen), truth, entropy=self.entropy) for one in self.panel]
        )
        return losses.mean() * (1.0 if self.schedule is None else self.schedule.factor)

    def end_epoch(self) -> dict[str, float]:
        """Let the loss count for more or less, where there is a ceiling."""
        return {} if self.schedule is None else self.schedule.end_epoch()

    def get_extra_state(self) -> dict[str, Any]:
        """Return what the schedule knows, for a fit that is resumed."""
        return {} if self.schedule is None else self.schedule.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up what the schedule knew."""
        if self.schedule is not None:
            self.schedule.load_state_dict(state)

    def _learn(self, seen: Seen, truth: Truth, own: Sequence[Attribute]) -> list[dict[str, float]]:
        """Take one step of each discriminator; return what each of them made of the batch."""
        losses, notes = [], []
        for one in self.panel:
            guesses = one(seen)
            loss = guessing_loss(guesses, truth)
            notes.append({"discriminator": loss.item()} | skill(guesses, truth))
            if self.gradient_penalty:
                squares = slope_penalty(one, seen, truth.attributes, own)
                loss = loss + self.gradient_penalty / 2 * squares
            losses.append(loss)
        self.panel.step(losses, seen.gather)
        return notes


def _check(sound: bool, expected: str, given: object) -> None:
    if not sound:
        raise ConfigError(f"an adversary needs {expected}; got {given}")
