"""Fit the perturbers of a wrapped host: train, validate after every epoch, keep the best."""

import copy
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from apple_seg.data import Cohort, Groups
from apple_seg.errors import FitError
from apple_seg.files import to_json_line
from apple_seg.host import Pipeline, channels_last
from apple_seg.perturb.acceleration import accelerated
from apple_seg.perturb.closed import Solver
from apple_seg.perturb.feeds import Feed, open_feed, stream
from apple_seg.perturb.methods import MethodSpec
from apple_seg.perturb.preflight import prepare_fit
from apple_seg.perturb.progress import Progress, Resumed, Weights
from apple_seg.perturb.recipe import Recipe, build_recipe
from apple_seg.perturb.record import FitResult, FitSettings
from apple_seg.perturb.reporting import epoch_event, result_of, slow_mean, start_event, tracked
from apple_seg.perturb.sampling import part_of
from apple_seg.perturb.stepping import Stepper
from apple_seg.perturb.task import FitTask
from apple_seg.perturb.validation import validate
from apple_seg.perturb.voting import voted
from apple_seg.processes import Processes
from apple_seg.replay import ReplayNote, ReplaySettings


def fit(
    pipeline: Pipeline,
    *,
    train: Cohort,
    validation: Cohort,
    groups: Groups | None = None,
    others: Sequence[Groups] = (),
    method: MethodSpec | None = None,
    settings: FitSettings | None = None,
    replay: ReplaySettings | None = None,
    folder: Path | str | None = None,
    progress: bool = True,
) -> FitResult:
    """Train new perturbers for the wrapped host of `pipeline` and install the best, or none.

    The host's weights are not touched. Should the fit fail or be stopped, the identity is back in
    place. The frozen encoder's work is recorded once and replayed, where that is right and pays.
    Started by `accelerate launch`, each process calls this, and all end with the same perturbers.

    Args:
        pipeline: A wrapped host as it is deployed.
        train: Annotated cases to fit on.
        validation: Annotated cases of other patients, from which the epoch is chosen.
        groups: What the sensitive attribute is: the epoch is chosen by it. None where attributes
            may not be recorded: the epoch is then chosen by the cases that fare worst.
        others: Further attributes, which objectives heed as well.
        method: Which recipe; the default one, at the wrapped sites. Where it has a `vote`, the
            segmentor's `views` are set if validation gains by it.
        settings: How long, how fast, which seed.
        replay: Whether and where to keep what the encoder gives.
        folder: Where to keep records, log and a checkpoint after every epoch. A fit that was
            killed goes on from there: on a CPU, to the very weights of one that was not; one that
            has ended is not trained again until its checkpoint is removed. None keeps records in
            memory and nothing else.
        progress: Whether to show bars, and to say what is done.

    Raises:
        FitError: There are fewer cases than a batch, or no masks, or patients that are in both
            cohorts, or no gradient reaches a site.
        GroupError: Cases of one group only, or a group without validation cases.
        ConfigError: The settings ask for what this host or this machine does not have.
        CaseError: A case cannot be read, or images of a batch do not fit together.
        MissingExtraError: accelerate, or a tracker that is asked for, is not installed.
        ProcessError: Another process of this run has ended.
        ReplayError: `replay` insists on records, and they are not right for this host.
        StoreError: The records cannot be written: a full disk, say. What is there is kept.
    """
    task = prepare_fit(
        pipeline,
        train=train,
        validation=validation,
        groups=(*([groups] if groups else []), *others),
        method=method or MethodSpec(),
        settings=settings or FitSettings(),
        replay=replay or ReplaySettings(),
        folder=None if folder is None else Path(folder),
        progress=progress,
    )
    try:
        device = next(pipeline.segmentor.host.parameters()).device
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            accelerated(task.settings, device, task.folder) as accelerator,
            channels_last(pipeline.segmentor.host, lambda: task.answer),
        ):
            return _Fit(task, accelerator, device).run()
    except BaseException:
        pipeline.segmentor.install([nn.Identity() for _ in pipeline.segmentor.sites])
        raise


class _Fit:
    """One fit's run."""

    def __init__(self, task: FitTask, accelerator: Any, device: torch.device) -> None:
        self.task = task
        self.segmentor = task.pipeline.segmentor
        self.settings = task.settings
        self.device = device
        self.progress = Progress()
        self.accelerator = accelerator
        ranks = accelerator.process_index, accelerator.num_processes
        self.processes = Processes(*ranks, str(device))
        self.speaks = task.progress and self.processes.main
        if self.settings.batch_size % self.processes.count:
            raise FitError(
                f"a batch of {self.settings.batch_size} cases cannot be shared evenly by "
                f"{self.processes.count} processes; change [fit] batch_size"
            )

    def run(self) -> FitResult:
        """Train, select, install."""
        recipe = self._new_recipe()
        identity = [copy.deepcopy(one.state_dict()) for one in recipe.perturbers]
        for name, cohort in (("train", self.task.train), ("validation", self.task.validation)):
            if bare := self.task.unmasked(cohort):
                self._say(
                    f"{bare} of {len(cohort)} {name} cases have no mask: a consensus stands in"
                )
        if warning := slow_mean(self.task):
            self._say(warning)
        with open_feed(self.task, recipe.perturbers, self.processes, self._say) as (feed, note):
            self._train(recipe, feed, note)
        _keep(recipe, self.progress.best)
        result = result_of(self.task, recipe, self.progress, note)
        result = voted(self.task, result, self.segmentor.disabled, self.processes)
        if result.selected.epoch != self.progress.kept:
            _keep(recipe, identity)
        return result

    def _new_recipe(self) -> Recipe:
        """Build and install new perturbers."""
        task = self.task
        torch.manual_seed(self.settings.seed)
        recipe = build_recipe(task.method, task.problem)
        for module in recipe.perturbers:
            module.to(self.device)
        recipe.objective.to(self.device)
        self.segmentor.install(recipe.perturbers)
        return recipe

    def _stepper(self, recipe: Recipe) -> Stepper | Solver:
        """Return what changes the perturbers: step by step, or at once."""
        if self.task.method.solved:
            return Solver(self.task, recipe, self.processes, self.device)
        return Stepper(self.accelerator, self.task, recipe)

    def _train(self, recipe: Recipe, feed: Feed, note: ReplayNote) -> None:
        stepper = self._stepper(recipe)
        identity = self.task.identity(note)
        self._begin(stepper, identity, feed)
        while not self._done():
            epoch = self.progress.epoch + 1
            start = time.perf_counter()
            torch.manual_seed(self.settings.seed + epoch)
            losses = {}
            if isinstance(stepper, Solver):
                stepper.solve(feed)
            else:
                losses = self._train_epoch(feed, stepper, epoch)
            trained = time.perf_counter() - start
            with stepper.averaged():
                self._validate(feed, recipe, losses)
            self._log_epoch(losses, trained, time.perf_counter() - start)
            self._save(stepper, identity)

    def _begin(self, stepper: Stepper | Solver, identity: Mapping[str, Any], feed: Feed) -> None:
        """Go on where a killed fit ended, or start with the identity."""
        folder, answer = self.task.folder, self.task.answer
        if len({to_json_line(one) for one in self.processes.gather(identity)}) > 1:
            raise FitError("the processes were given different hosts, cases or settings")
        found = self.processes.from_main(
            lambda: "" if folder is None else Progress.load(folder, identity, answer)
        )
        if isinstance(found, Resumed):
            stepper.load_state_dict(found.state)
            self.progress = found.progress
            self._say(f"going on after epoch {found.progress.epoch} of {self._epochs}")
            return
        if found:
            self._say(found)
        self.progress.answer = answer
        self.progress.log.append(start_event(identity, self.processes))
        start = time.perf_counter()
        self._validate(feed, stepper.recipe, {})
        self._log_epoch({}, 0.0, time.perf_counter() - start)
        self._save(stepper, identity)

    @property
    def _epochs(self) -> int:
        return 1 if self.task.method.solved else self.settings.epochs

    def _done(self) -> bool:
        patience, idle = self.settings.patience, self.progress.idle
        stale = patience is not None and idle >= patience
        return self.progress.epoch >= self._epochs or stale

    def _train_epoch(self, feed: Feed, stepper: Stepper, epoch: int) -> dict[str, float]:
        self.segmentor.train()
        batches = self.task.sampler.epoch(epoch)
        parts = [part_of(batch, self.processes.rank, self.processes.count) for batch in batches]
        label = f"epoch {epoch}/{self.settings.epochs}"
        quiet = None if self.speaks else True
        bar = tqdm(
            stream(feed, parts, self.device), label, total=len(parts), disable=quiet, leave=False
        )
        losses = stepper.epoch(feed, bar, len(parts))
        self.segmentor.eval()
        return losses

    def _validate(self, feed: Feed, recipe: Recipe, losses: dict[str, float]) -> None:
        """Validate the perturbers as they are, and keep them if the rule does."""
        epoch = len(self.progress.candidates)
        candidate = validate(
            feed,
            self.task,
            epoch,
            processes=self.processes,
            progress=self.speaks,
        )
        if epoch:
            self.progress.losses.append(losses)
        self.progress.judge(candidate, self.task.rule, recipe.perturbers)

    def _log_epoch(self, losses: Mapping[str, float], trained: float, seconds: float) -> None:
        progress = self.progress
        progress.seconds += seconds
        progress.log.append(epoch_event(progress, losses, trained=trained, seconds=seconds))
        if self.processes.main:
            progress.write_log(self.task.folder)
        self.accelerator.log(tracked(progress, losses), step=progress.epoch)

    def _save(self, stepper: Stepper | Solver, identity: Mapping[str, Any]) -> None:
        if self.task.folder is not None and self.processes.main:
            self.progress.save(self.task.folder, identity, stepper.state_dict())

    def _say(self, text: str) -> None:
        if self.speaks:
            tqdm.write(text, file=sys.stderr)


def _keep(recipe: Recipe, states: Weights) -> None:
    """Give the perturbers these weights, which stay."""
    for perturber, state in zip(recipe.perturbers, states, strict=True):
        perturber.load_state_dict(state)
        perturber.requires_grad_(False).eval()
