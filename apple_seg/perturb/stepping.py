"""One step: a batch through the perturbed host, losses, gradients over all processes, an update."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from apple_seg.errors import FitError
from apple_seg.perturb.feeds import Feed, TrainBatch
from apple_seg.perturb.objectives import Outcome
from apple_seg.perturb.recipe import Recipe
from apple_seg.perturb.task import FitTask


class Stepper:
    """Trains the perturbers of a recipe, with Adam and a learning rate that falls along a cosine.

    No DistributedDataParallel: perturbers run inside hooks, where it would not see them. Each
    process has the loss of the whole batch, of which its own rows have gradients; the sum
    over processes is the gradient of the batch.
    """

    def __init__(self, accelerator: Any, task: FitTask, recipe: Recipe) -> None:
        settings, batches = task.settings, task.sampler.batches
        self.accelerator = accelerator
        self.pipeline = task.pipeline
        self.recipe = recipe
        self.accumulate = settings.accumulate
        self.sizes = task.attributes.sizes
        self.parameters = [value for one in recipe.perturbers for value in one.parameters()]
        self._adam = torch.optim.AdamW(
            self.parameters, settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._average = _running_mean(recipe.perturbers, settings.average)
        steps = settings.epochs * -(-batches // self.accumulate)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._adam, steps)
        # After the schedule, which wraps the optimiser's step: a gradient scaler puts back its own.
        self._optimizer = accelerator.prepare_optimizer(self._adam)
        self.proved = False
        """Whether a gradient has been seen to reach each perturber through the masks."""

    def epoch(self, feed: Feed, batches: Iterable[TrainBatch], count: int) -> dict[str, float]:
        """Go through an epoch's `count` batches; return the mean of each loss term."""
        found: dict[str, list[float]] = {}
        for step, batch in enumerate(batches):
            together = min(self.accumulate, count - step // self.accumulate * self.accumulate)
            for name, value in self.backward(feed, batch, share=1 / together).items():
                found.setdefault(name, []).append(value)
            if (step + 1) % self.accumulate == 0 or step + 1 == count:
                self.update()
        means = {name: float(np.mean(values)) for name, values in found.items()}
        return means | self.recipe.objective.end_epoch()

    def backward(self, feed: Feed, batch: TrainBatch, *, share: float = 1.0) -> dict[str, float]:
        """Add one batch's gradients, times `share`; return its loss terms.

        Raises:
            FitError: A loss is not a number, or no gradient reaches a perturber.
        """
        outcome = self.outcome(feed, batch)
        if not outcome.logits.requires_grad:
            raise FitError(
                "no gradient reaches the host's output: it runs its decoder without gradients, as "
                "a predictor does; pass segment=, or name [host] segment"
            )
        observed = self.recipe.objective.observe(outcome)
        terms = self.recipe.objective(outcome)
        loss: Tensor = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            named = {name: float(value.detach()) for name, value in terms.items()}
            raise FitError(f"the loss is not finite: {named}; lower [fit] learning_rate")
        if not self.proved:
            self._check_gradients(outcome.logits)
        self.accelerator.backward(loss * share)
        return {**{name: value.item() for name, value in terms.items()}, **observed}

    def update(self) -> None:
        """Take a step of the optimiser with the gradients of all processes."""
        if self.accelerator.num_processes > 1:
            self._sum_gradients()
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(nn.ModuleList(self.recipe.perturbers))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the running mean of the weights in place of the weights, where one is kept."""
        if self._average is None:
            yield
            return
        before = [value.detach().clone() for value in self.parameters]
        self._set(self._average.module.parameters())
        try:
            yield
        finally:
            self._set(before)

    @torch.no_grad()
    def _set(self, values: Iterable[Tensor]) -> None:
        for weight, value in zip(self.parameters, values, strict=True):
            weight.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step depends on."""
        scaler = self.accelerator.scaler
        return {
            "perturbers": [one.state_dict() for one in self.recipe.perturbers],
            "average": None if self._average is None else self._average.state_dict(),
            "objective": self.recipe.objective.state_dict(),
            "optimizer": self._adam.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        for perturber, weights in zip(self.recipe.perturbers, state["perturbers"], strict=True):
            perturber.load_state_dict(weights)
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self.recipe.objective.load_state_dict(state["objective"])
        self._adam.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def outcome(self, feed: Feed, batch: TrainBatch) -> Outcome:
        """Run the host on a batch."""
        with self.accelerator.autocast():
            raw, latents = feed.segment(batch)
        grid = batch.inputs.images.shape[2:]
        inside = self._covered(batch)
        return Outcome(
            self.pipeline.logits(raw, grid)[inside].float(),
            batch.masks.to(raw.device)[inside],
            latents,
            batch.groups.to(raw.device),
            self.sizes,
            batch.numbers.to(raw.device),
            lambda: self._deployed(feed, batch)[inside],
            self._gather,
            self.recipe.objective.loss,
            self.recipe.objective.target,
            whole=tuple(grid),
        )

    def _deployed(self, feed: Feed, batch: TrainBatch) -> Tensor:
        """Return the logits of the host without perturbers."""
        segmentor = self.pipeline.segmentor
        with torch.no_grad(), segmentor.disabled(), self.accelerator.autocast():
            raw, _ = feed.segment(batch)
        return self.pipeline.logits(raw, batch.inputs.images.shape[2:]).float()

    def _covered(self, batch: TrainBatch) -> tuple[slice, ...]:
        """Return the part of the grid that some image of the batch covers, in whatever process.

        What is padding in all of them is left out of the loss.
        """
        sizes = torch.tensor([frame.inside for frame in batch.inputs.frames])
        if self.accelerator.num_processes > 1:
            sizes = self.accelerator.gather(sizes.to(self.accelerator.device))
        largest = sizes.amax(0).tolist()
        return (slice(None), slice(None), *(slice(0, int(size)) for size in largest))

    def _gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes by rank; gradients reach this one's."""
        if self.accelerator.num_processes == 1:
            return rows
        every = self.accelerator.gather(rows.detach().contiguous())
        first = self.accelerator.process_index * len(rows)
        return torch.cat([every[:first], rows, every[first + len(rows) :]])

    def _sum_gradients(self) -> None:
        gradients = [
            torch.zeros_like(value) if value.grad is None else value.grad
            for value in self.parameters
        ]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        total = self.accelerator.reduce(flat, reduction="sum")
        parts = total.split([gradient.numel() for gradient in gradients])
        for value, part in zip(self.parameters, parts, strict=True):
            value.grad = part.view_as(value).clone()

    def _check_gradients(self, logits: Tensor) -> None:
        """Refuse to go on where a perturber cannot change the masks.

        Asked of the logits alone: an adversary's loss reaches every perturber by itself.
        """
        sites = self.pipeline.segmentor.sites
        for site, perturber in zip(sites, self.recipe.perturbers, strict=True):
            if not _reached(logits, perturber):
                raise FitError(
                    f"no gradient reaches the perturber at {site}: the host detaches this latent "
                    "on its way to the output; leave the site out"
                )
        self.proved = True


def _running_mean(
    perturbers: Sequence[nn.Module], decay: float
) -> torch.optim.swa_utils.AveragedModel | None:
    """Return what keeps a running mean of the perturbers' weights; None where `decay` is 0."""
    if not decay:
        return None
    return torch.optim.swa_utils.AveragedModel(
        nn.ModuleList(perturbers), multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
    )


def _reached(logits: Tensor, perturber: nn.Module) -> bool:
    gradients: Sequence[Tensor | None] = torch.autograd.grad(
        logits.square().sum(),
        list(perturber.parameters()),
        retain_graph=True,
        allow_unused=True,
    )
    return any(gradient is not None and bool(gradient.any()) for gradient in gradients)
