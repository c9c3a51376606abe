"""Fit the perturbers of a wrapped host: train, validate after every epoch, keep the best."""

import copy
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from apple_seg.data import UNKNOWN, Cohort, Groups
from apple_seg.errors import FitError, GroupError
from apple_seg.host import PerturbedSegmentor, Pipeline
from apple_seg.measure import score
from apple_seg.perturb.batches import Collate, TrainBatch, covered
from apple_seg.perturb.methods import MethodSpec, Problem, Recipe, build_recipe
from apple_seg.perturb.objectives import Outcome
from apple_seg.perturb.record import FitResult, FitSettings
from apple_seg.perturb.selection import RULES, Candidate


def fit(
    pipeline: Pipeline,
    *,
    train: Cohort,
    validation: Cohort,
    groups: Groups,
    method: MethodSpec | None = None,
    settings: FitSettings | None = None,
    progress: bool = True,
) -> FitResult:
    """Train new perturbers for the wrapped host of `pipeline` and install the best.

    The host's weights are not touched. Should the fit fail or be stopped, the identity is back in
    place.

    Args:
        pipeline: A wrapped host as it is deployed.
        train: Annotated cases to fit on.
        validation: Annotated cases of other patients, from which the epoch is chosen.
        groups: What the sensitive attribute is.
        method: Which recipe; APPLE at the wrapped sites by default.
        settings: How long, how fast, which seed.
        progress: Whether to show bars.

    Raises:
        FitError: There are fewer cases than a batch, or no masks, or patients that are in both
            cohorts, or no gradient reaches a site.
        GroupError: Cases of one group only, or a group without validation cases.
    """
    run = _Fit(pipeline, groups, method or MethodSpec(), settings or FitSettings(), progress)
    run.check(train, validation)
    try:
        return run.run(train, validation)
    except BaseException:
        pipeline.segmentor.install([nn.Identity() for _ in pipeline.segmentor.sites])
        raise


class _Fit:
    """One fit's constants."""

    def __init__(
        self,
        pipeline: Pipeline,
        groups: Groups,
        method: MethodSpec,
        settings: FitSettings,
        progress: bool,
    ) -> None:
        self.pipeline = pipeline
        self.segmentor: PerturbedSegmentor = pipeline.segmentor
        self.groups = groups
        self.method = method
        self.settings = settings
        self.progress = progress
        self.device = next(self.segmentor.host.parameters()).device

    def check(self, train: Cohort, validation: Cohort) -> None:
        """Refuse what cannot be trained, before anything is changed."""
        self._check_state()
        if shared := sorted({*train.clusters} & {*validation.clusters}):
            raise FitError(
                f"{len(shared)} patients ({', '.join(map(str, shared[:3]))}, ...) are among the "
                "train and the validation cases; the epoch would be chosen on what was trained on"
            )
        for name, cohort in (("train", train), ("validation", validation)):
            if not cohort.annotated:
                missing = int((cohort.table["mask"] == "").sum())
                raise FitError(
                    f"{missing} of {len(cohort)} {name} cases have no mask; "
                    "a fit needs masks: leave those cases out"
                )
        if len(train) < self.settings.batch_size:
            raise FitError(
                f"{len(train)} cases are fewer than a batch of {self.settings.batch_size}; "
                "lower [fit] batch_size"
            )
        for shape, site in zip(self.segmentor.shapes, self.segmentor.sites, strict=True):
            if shape.calls != 1:
                raise FitError(f"{site} fires {shape.calls} times an image; a fit needs once")
        self._check_groups(train, validation)

    def _check_state(self) -> None:
        self.segmentor.check_attached()
        if not (self.segmentor.enabled and self.segmentor.strength == 1):
            raise FitError("perturbers are fitted enabled and at strength 1; set both first")
        if not torch.is_grad_enabled():
            raise FitError("a fit needs gradients; it was called under no_grad")

    def _check_groups(self, train: Cohort, validation: Cohort) -> None:
        counts = _counts(self.groups, train)
        if sum(counts[label] > 0 for label in self.groups.labels) < 2:
            raise GroupError(f"one group only to fit on: {counts}; two are needed")
        empty = [label for label, n in _counts(self.groups, validation).items() if not n]
        if lost := [label for label in empty if label in self.groups.labels]:
            raise GroupError(
                f"no validation case of {', '.join(map(repr, lost))}: the epoch could not be chosen"
            )

    def run(self, train: Cohort, validation: Cohort) -> FitResult:
        """Train and select."""
        start = time.perf_counter()
        recipe = self._new_recipe()
        optimizer = torch.optim.Adam(
            [value for module in recipe.perturbers for value in module.parameters()],
            self.settings.learning_rate,
        )
        loader = self._loader(train)
        steps = self.settings.epochs * len(loader)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        candidates = [self._validate(validation, 0)]
        weights = [_snapshot(recipe.perturbers)]
        losses = []
        for epoch in range(1, self.settings.epochs + 1):
            losses.append(self._train_epoch(loader, recipe, schedule, epoch))
            candidates.append(self._validate(validation, epoch))
            weights.append(_snapshot(recipe.perturbers))
        selected = RULES[self.settings.selection](candidates, self.settings.margin)
        for perturber, state in zip(recipe.perturbers, weights[selected.epoch], strict=True):
            perturber.load_state_dict(state)
            perturber.requires_grad_(False).eval()
        return FitResult(
            method=self.method,
            settings=self.settings,
            sites=tuple(map(str, self.segmentor.sites)),
            n_fit=len(train),
            n_validation=len(validation),
            trained_parameters=_count(recipe.perturbers),
            host_parameters=_count([self.segmentor.host]),
            selected=selected,
            candidates=tuple(candidates),
            losses=tuple(losses),
            seconds=time.perf_counter() - start,
            groups=_counts(self.groups, train),
        )

    def _new_recipe(self) -> Recipe:
        """Build and install new perturbers; the caller's random state stays as it was."""
        problem = Problem(
            self.segmentor.shapes,
            len(self.groups.labels),
            self.pipeline.spec,
            self.pipeline.classes,
        )
        with torch.random.fork_rng():
            torch.manual_seed(self.settings.seed)
            recipe = build_recipe(self.method, problem)
        for module in recipe.perturbers:
            module.to(self.device)
        recipe.objective.to(self.device)
        self.segmentor.install(recipe.perturbers)
        return recipe

    def _loader(self, train: Cohort) -> DataLoader[Any]:
        codes = dict(zip(train.table["case"], self.groups.codes(train.table), strict=True))
        return DataLoader(
            train,  # type: ignore[arg-type]
            batch_size=self.settings.batch_size,
            shuffle=True,
            drop_last=True,
            generator=torch.Generator().manual_seed(self.settings.seed),
            collate_fn=Collate(self.pipeline.spec, codes),
        )

    def _train_epoch(
        self,
        loader: DataLoader[Any],
        recipe: Recipe,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        epoch: int,
    ) -> dict[str, float]:
        self.segmentor.train()
        sums: dict[str, list[float]] = {}
        label = f"epoch {epoch}/{self.settings.epochs}"
        for step, batch in enumerate(self._bar(loader, label)):
            first = epoch == 1 and step == 0
            terms = self._step(batch, recipe, schedule.optimizer, first=first)
            schedule.step()
            for name, value in terms.items():
                sums.setdefault(name, []).append(value)
        self.segmentor.eval()
        return {name: float(np.mean(values)) for name, values in sums.items()}

    def _step(
        self,
        batch: TrainBatch,
        recipe: Recipe,
        optimizer: torch.optim.Optimizer,
        *,
        first: bool,
    ) -> dict[str, float]:
        device = self.device
        inputs = self.pipeline.to_host(batch.inputs)
        raw, latents = self.segmentor(inputs.images, **inputs.prompts)
        inside = covered(batch.inputs)
        outcome = Outcome(
            self.pipeline.logits(raw, inputs.images.shape[2:])[inside].float(),
            batch.masks.to(device)[inside],
            latents,
            batch.groups.to(device),
        )
        if not raw.requires_grad:
            raise FitError(
                "no gradient reaches the host's output: it runs its decoder without gradients, as "
                "a predictor does; pass segment=, or name [host] segment"
            )
        observed = recipe.objective.observe(outcome)
        terms = recipe.objective(outcome)
        loss: Tensor = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            named = {name: float(value) for name, value in terms.items()}
            raise FitError(f"the loss is not finite: {named}; lower [fit] learning_rate")
        if first:
            self._check_gradients(outcome.logits, recipe.perturbers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {**{name: value.item() for name, value in terms.items()}, **observed}

    def _check_gradients(self, logits: Tensor, perturbers: Sequence[nn.Module]) -> None:
        """Refuse to go on where a perturber cannot change the masks.

        Asked of the logits alone: an adversary's loss reaches every perturber by itself.
        """
        for site, perturber in zip(self.segmentor.sites, perturbers, strict=True):
            gradients = torch.autograd.grad(
                logits.square().sum(),
                list(perturber.parameters()),
                retain_graph=True,
                allow_unused=True,
            )
            if not any(gradient is not None and bool(gradient.any()) for gradient in gradients):
                raise FitError(
                    f"no gradient reaches the perturber at {site}: the host detaches this latent "
                    "on its way to the output; leave the site out"
                )

    def _validate(self, validation: Cohort, epoch: int) -> Candidate:
        self.segmentor.eval()
        what = "validation" if epoch else "validation of the host"
        table = score(
            self.pipeline,
            validation,
            metrics=("dice",),
            batch_size=self.settings.batch_size,
            progress=self.progress,
            description=what,
        )
        per_case = table.groupby("case")["dice"].mean().reindex(validation.table["case"])
        dice = per_case.to_numpy()
        codes = self.groups.codes(validation.table)
        by_group = {
            label: _mean(dice[codes == code]) for code, label in enumerate(self.groups.labels)
        }
        if lost := [label for label, mean in by_group.items() if not np.isfinite(mean)]:
            raise FitError(
                f"no Dice for any validation case of {', '.join(map(repr, lost))}: their masks are "
                "empty, and so are the predictions"
            )
        return Candidate(epoch, _mean(dice), by_group)

    def _bar(self, loader: DataLoader[Any], label: str) -> Iterable[TrainBatch]:
        return tqdm(loader, label, disable=None if self.progress else True, leave=False)


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of what is a number; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _snapshot(modules: Sequence[nn.Module]) -> list[dict[str, Tensor]]:
    return [copy.deepcopy(module.state_dict()) for module in modules]


def _count(modules: Sequence[nn.Module]) -> int:
    return sum(value.numel() for module in modules for value in module.parameters())


def _counts(groups: Groups, cohort: Cohort) -> dict[str, int]:
    codes = groups.codes(cohort.table)
    counts = {label: int((codes == code).sum()) for code, label in enumerate(groups.labels)}
    return {**counts, "unknown": int((codes == UNKNOWN).sum())}
