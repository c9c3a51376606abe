"""The limit: what training the whole host on the same cases, to the same end, would bring."""

import copy
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import nn
from tqdm import tqdm

from apple_seg.data import Cohort, Groups
from apple_seg.errors import ConfigError
from apple_seg.host import Pipeline
from apple_seg.perturb.acceleration import accelerated
from apple_seg.perturb.feeds import ImageFeed, Known, stream
from apple_seg.perturb.methods import MethodSpec
from apple_seg.perturb.preflight import prepare_fit
from apple_seg.perturb.progress import Progress
from apple_seg.perturb.recipe import Recipe, build_recipe
from apple_seg.perturb.record import FitResult, FitSettings
from apple_seg.perturb.reporting import epoch_event, result_of
from apple_seg.perturb.stepping import Stepper
from apple_seg.perturb.task import FitTask
from apple_seg.perturb.validation import validate
from apple_seg.perturb.voting import voted
from apple_seg.processes import ONE
from apple_seg.replay import ReplayNote, ReplaySettings


def fine_tune(
    pipeline: Pipeline,
    *,
    train: Cohort,
    validation: Cohort,
    groups: Groups | None = None,
    others: Sequence[Groups] = (),
    method: MethodSpec | None = None,
    settings: FitSettings | None = None,
    progress: bool = True,
) -> FitResult:
    """Train every weight of the host itself, which `fit` never does; to compare with.

    Objective, order of cases, views, validation and selection are those of `fit`; no perturber
    acts. Norm layers that learn from batches do so. A host without its checkpoint is trained from
    scratch. The wrapped host is left with the weights that the rule keeps, frozen: wrap one that
    may be lost. In one process, and not resumed after a kill.

    Args:
        pipeline: A wrapped host as it is deployed; its perturbers are taken out.
        train: Annotated cases.
        validation: Annotated cases of other patients, from which the epoch is chosen.
        groups: As `fit` has them.
        others: As `fit` has them.
        method: Its loss, weighting and terms; mere segmentation loss by default.
        settings: As `fit` has them; `learning_rate` is of the host's weights.
        progress: Whether to show bars.

    Raises:
        FitError: As `fit` raises it.
        GroupError: As `fit` raises it.
        ConfigError: The method is solved, not trained, or goes by the host as deployed.
    """
    method = method or MethodSpec(name="segmentation-only")
    if method.solved:
        raise ConfigError(f"{method.name} is solved for perturbers; a host cannot be trained so")
    if asking := method.asks_the_host:
        raise ConfigError(
            f"{', '.join(asking)} of {method.name} goes by what the host as deployed says, which "
            "is gone once it is trained; a host cannot be trained so"
        )
    task = prepare_fit(
        pipeline,
        train=train,
        validation=validation,
        groups=(*([groups] if groups else []), *others),
        method=method,
        settings=settings or FitSettings(),
        replay=ReplaySettings(store="off"),
        folder=None,
        progress=progress,
    )
    segmentor = pipeline.segmentor
    segmentor.install([nn.Identity() for _ in segmentor.sites])
    device = next(segmentor.host.parameters()).device
    try:
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            accelerated(task.settings, device, None) as accelerator,
            ThreadPoolExecutor() as pool,
        ):
            segmentor.host.requires_grad_(True)
            return _Tuning(task, accelerator, pool).run()
    finally:
        segmentor.host.requires_grad_(False).eval()


class _Tuning:
    """One run of it."""

    def __init__(self, task: FitTask, accelerator: object, pool: ThreadPoolExecutor) -> None:
        settings, table = task.settings, task.train.table
        known = Known(task.attributes.codes(table), task.attributes.standardised(table))
        views, prompts = settings.views, settings.prompts
        torch.manual_seed(settings.seed)
        self.task = task
        self.host = task.pipeline.segmentor.host
        self.deployed = copy.deepcopy(self.host.state_dict())
        self.recipe = Recipe([self.host], build_recipe(task.method, task.problem).objective)
        self.recipe.objective.to(next(self.host.parameters()).device)
        self.feed = ImageFeed(
            task.pipeline, task.train, task.validation, known, views, prompts, pool
        )
        self.stepper = Stepper(accelerator, task, self.recipe)
        self.stepper.proved = True  # no perturber waits for a gradient
        self.progress = Progress()

    def run(self) -> FitResult:
        """Train, select, install."""
        settings, progress = self.task.settings, self.progress
        start = time.perf_counter()
        self._validate()
        progress.seconds = time.perf_counter() - start
        for epoch in range(1, settings.epochs + 1):
            start = time.perf_counter()
            torch.manual_seed(settings.seed + epoch)
            progress.losses.append(self._train(epoch))
            trained = time.perf_counter() - start
            with self.stepper.averaged():
                self._validate()
            seconds = time.perf_counter() - start
            progress.seconds += seconds
            progress.log.append(
                epoch_event(progress, progress.losses[-1], trained=trained, seconds=seconds)
            )
            if settings.patience is not None and progress.idle >= settings.patience:
                break
        self.host.load_state_dict(progress.best[0])
        why = "the whole host is trained, its encoder too"
        note = ReplayNote(used=False, why=why)
        result = result_of(self.task, self.recipe, progress, note)
        result = voted(self.task, result, self._deployed)
        if result.selected.epoch != progress.kept:
            self.host.load_state_dict(self.deployed)
        return result

    @contextmanager
    def _deployed(self) -> Iterator[None]:
        self.host.load_state_dict(self.deployed)
        try:
            yield
        finally:
            self.host.load_state_dict(self.progress.best[0])

    def _train(self, epoch: int) -> dict[str, float]:
        self.task.pipeline.segmentor.train()
        self.host.train()
        device = next(self.host.parameters()).device
        batches = self.task.sampler.epoch(epoch)
        label = f"epoch {epoch}/{self.task.settings.epochs}"
        bar = tqdm(
            stream(self.feed, batches, device),
            label,
            total=len(batches),
            disable=None if self.task.progress else True,
            leave=False,
        )
        losses = self.stepper.epoch(self.feed, bar, len(batches))
        self.task.pipeline.segmentor.eval()
        return losses

    def _validate(self) -> None:
        """Validate the host as it is, and keep its weights if the rule does."""
        epoch = len(self.progress.candidates)
        candidate = validate(
            self.feed, self.task, epoch, processes=ONE, progress=self.task.progress
        )
        self.progress.judge(candidate, self.task.rule, [self.host])
