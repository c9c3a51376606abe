"""What `apple-seg sweep` does: fit every combination with every seed, and let the rule choose."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from apple_seg.data import Cohort
from apple_seg.errors import AppleSegError, ConfigError, FitError
from apple_seg.files import plain, to_json, write_text
from apple_seg.host import PerturbedSegmentor
from apple_seg.perturb import fit
from apple_seg.perturb.preflight import prepare_fit
from apple_seg.perturb.progress import discard_checkpoint
from apple_seg.perturb.recipe import build_recipe
from apple_seg.perturb.task import FitTask
from apple_seg.replay import ReplayNote
from apple_seg.ship import read_artifact, save
from apple_seg.workflow.running import FIT, PERTURBER, Written, checked, pipeline_of, wrapped
from apple_seg.workflow.sweep import Combination, Plan, Sweep
from apple_seg.workflow.sweep.page import sweep_html
from apple_seg.workflow.sweep.results import SeedFit, Tried
from apple_seg.workflow.sweep.shipping import ship
from apple_seg.workflow.sweep.words import duration, said

SWEEP = "sweep.json", "sweep.html"
"""Names of the results in an experiment's output folder."""


class Swept(NamedTuple):
    """A sweep, and what is said of it."""

    sweep: Sweep
    words: tuple[str, ...]


class _Cases(NamedTuple):
    """What every fit has; the audit split is not among it."""

    cohort: Cohort
    train: Cohort
    validation: Cohort


@dataclass(frozen=True, eq=False)
class _Task:
    """One fit."""

    combination: Combination
    seed: int
    identity: Mapping[str, Any]
    """What another fit would have otherwise, as JSON has it."""

    cases: _Cases
    """With the masks that stand in for true ones, where they do."""

    @property
    def folder(self) -> Path:
        """Where its results, its log and its checkpoint lie."""
        return self.combination.folder / f"seed-{self.seed}"

    def done(self) -> Mapping[str, Any] | None:
        """Return what this very fit said, where it has ended and its perturbers are whole."""
        try:
            found = json.loads((self.folder / FIT).read_text(encoding="utf-8"))
            read_artifact(self.folder / PERTURBER)
        except (OSError, ValueError):  # not there, or damaged: an ArtifactError is a ValueError
            return None
        same = isinstance(found, dict) and found.get("identity") == self.identity
        # Fits of a time when the untouched host's vote was no candidate are made anew.
        return found if same and "untouched" in (found.get("vote") or {"untouched"}) else None


def sweep_experiment(
    plan: Plan, *, compare: str = "apple-seg compare EXPERIMENT.toml", progress: bool = True
) -> Written:
    """Fit all combinations on the fit split, choose on the validation split, and ship one file.

    Fits that are done are not done again, and one that was killed goes on. What the frozen encoder
    gives is recorded once for all combinations that record the same.

    Args:
        plan: What is fitted.
        compare: The command that looks at the audit split, for the words.
        progress: Whether to show bars, and to say what is done.

    Raises:
        FitError: No combination can be fitted.
    """
    base = plan.base
    both = [base.splits.fit, base.splits.validation]
    bare = any(one.experiment.method.parts.target != "masks" for one in plan.combinations)
    cohort = checked(base, both, progress=progress, bare=bare)
    cases = _Cases(cohort, *map(cohort.split, both))
    sweep = Sweep(plan, tuple(_fit_all(plan, cases, progress=progress)))
    if not sweep.finished:
        failed = (why for one in sweep.tried for why in one.failed.values())
        raise FitError(f"no combination could be fitted with all seeds: {next(failed)}")
    words = (*said(sweep, compare), *ship(sweep.shipped, base.output))
    table, page = (base.output / name for name in SWEEP)
    write_text(table, to_json({**sweep.to_dict(), "words": words}))
    write_text(page, sweep_html(sweep, words))
    shipped = [base.output / name for name in (PERTURBER, FIT)] if sweep.chosen else []
    return Written(Swept(sweep, words), (table, page, *shipped))


def _fit_all(plan: Plan, cases: _Cases, *, progress: bool) -> Iterator[Tried]:
    """Fit what is not done, and return all of it, in the order of the plan."""
    tasks = list(_tasks(plan, cases, progress=progress))
    due = [task for task in tasks if task.done() is None]
    _say(_announced(plan, len(due)), progress)
    failed: dict[_Task, str] = {}
    # None: only where somebody looks. Seeds go first: a sweep that is stopped has tried everything.
    quiet = None if progress else True
    bar = tqdm(due, "fits", total=plan.fits, initial=plan.fits - len(due), disable=quiet)
    for task in bar:
        where = f"{task.combination.label}, seed {task.seed}"
        try:
            one = _fit(task, progress=progress)
        except FitError as error:
            if error.__cause__ is not None:  # a full disk, say, which the next one meets too
                raise
            failed[task] = str(error)
            _say(f"{where}: {error}", progress)
            continue
        gain = one.selected.group_min - one.host.group_min
        _say(f"{where}: kept {one.kept}, worst group {gain:+.4f}", progress)
        if task is due[0] and len(due) > 1:
            _say(_expected(one, len(due) - 1), progress)
    for combination in plan.combinations:
        own = [task for task in tasks if task.combination is combination]
        fits = [
            SeedFit.read(task.seed, task.folder, found)
            for task in own
            if task not in failed and (found := task.done()) is not None
        ]
        lost = {task.seed: failed[task] for task in own if task in failed}
        yield Tried(combination, tuple(fits), lost)


def _tasks(plan: Plan, cases: _Cases, *, progress: bool) -> Iterator[_Task]:
    """Yield every fit, after a look that each combination can be fitted.

    The mean of the host's views is drawn once for all combinations that it stands in for masks of.
    """
    _check_judged_alike(plan, cases.validation)
    sites: dict[Any, list[Combination]] = {}
    for one in plan.combinations:
        sites.setdefault(one.experiment.method.parts.sites, []).append(one)
    identities: dict[Combination, dict[str, Any]] = {}
    aimed: dict[Any, _Cases] = {}
    for some in sites.values():
        with _explained(some[0]), wrapped(some[0].experiment, cases.train) as segmentor:
            for one in some:
                with _explained(one):
                    given = aimed.get(_drawn(one), cases)
                    task = _prepared(one, given, segmentor, progress=progress)
                    aimed[_drawn(one)] = _Cases(cases.cohort, task.train, task.validation)
                    identities[one] = _identity(task)
    for seed in plan.seeds:
        for one in plan.combinations:
            settings = {**identities[one]["settings"], "seed": seed}
            identity = {**identities[one], "settings": settings}
            yield _Task(one, seed, identity, aimed[_drawn(one)])


def _drawn(one: Combination) -> Any:
    """Return what decides which masks a combination is fitted to."""
    target = one.experiment.method.parts.target
    return target, one.experiment.fit.views if target == "consensus" else ()


def _check_judged_alike(plan: Plan, validation: Cohort) -> None:
    """Refuse combinations whose validation Dice is against different masks."""

    def judge(one: Combination) -> Any:
        target, views = _drawn(one)
        return "truth" if target != "host" and validation.annotated else (target, views)

    first, *others = plan.combinations
    if unlike := [one for one in others if judge(one) != judge(first)]:
        raise ConfigError(
            f"{first.label} and {unlike[0].label} would be judged by different masks (true ones, "
            "the host's own, or the mean of different views of it), and cannot be compared: sweep "
            "over each by itself"
        )


def _prepared(
    one: Combination, cases: _Cases, segmentor: PerturbedSegmentor, *, progress: bool
) -> FitTask:
    """Return a combination made ready, after a look that it can be built."""
    experiment = one.experiment
    pipeline = pipeline_of(experiment, segmentor, cases.cohort)
    task = prepare_fit(
        pipeline,
        train=cases.train,
        validation=cases.validation,
        groups=(experiment.groups, *experiment.other_groups),
        method=experiment.method,
        settings=experiment.fit,
        replay=experiment.replay,
        folder=None,
        progress=progress,
    )
    with torch.random.fork_rng(devices=[]):
        build_recipe(experiment.method, task.problem)
    return task


def _identity(task: FitTask) -> dict[str, Any]:
    """Return what makes a fit this one."""
    identity: dict[str, Any] = json.loads(to_json(task.identity(ReplayNote(False, ""))))
    del identity["replay"]  # known only once it has been tried, and the same for the same fit
    return identity


def _fit(task: _Task, *, progress: bool) -> SeedFit:
    """Make one fit, and keep what came of it; the record that says so is written last."""
    experiment, cases = task.combination.experiment, task.cases
    with wrapped(experiment, cases.train) as segmentor:
        result = fit(
            pipeline_of(experiment, segmentor, cases.cohort),
            train=cases.train,
            validation=cases.validation,
            groups=experiment.groups,
            others=experiment.other_groups,
            method=experiment.method,
            settings=replace(experiment.fit, seed=task.seed),
            replay=replace(experiment.replay, folder=task.combination.records),
            folder=task.folder,
            progress=progress,
        )
        told = result.to_dict()
        path, spec = task.folder / PERTURBER, experiment.host
        save(segmentor, path, spec=spec, cohort=cases.train.digest(), record={"fit": told})
    write_text(task.folder / FIT, to_json({"identity": task.identity, **told}))
    discard_checkpoint(task.folder)
    return SeedFit.read(task.seed, task.folder, plain(told))


@contextmanager
def _explained(one: Combination) -> Iterator[None]:
    """Say which combination it is that cannot be had."""
    try:
        yield
    except AppleSegError as error:
        label = f"{one.label}: "
        if str(error).startswith(label):
            raise
        raise type(error)(f"{label}{error}") from error


def _announced(plan: Plan, due: int) -> str:
    counted = f"{len(plan.combinations)} combinations x {len(plan.seeds)} seeds: {plan.fits} fits"
    done = plan.fits - due
    return f"{counted}, of which {done} are done already" if done else counted


def _expected(first: SeedFit, left: int) -> str:
    recorded = f", and its records {duration(first.recording)}" if first.recording >= 1 else ""
    return (
        f"the first fit took {duration(first.seconds)}{recorded}; the other {left} will take about "
        f"{duration(left * first.seconds)}, and more where other sites are recorded"
    )


def _say(text: str, progress: bool) -> None:
    if progress:
        tqdm.write(text, file=sys.stderr)
