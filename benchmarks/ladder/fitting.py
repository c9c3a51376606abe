"""Fit one rung on cases that its host has not seen, on train and validation splits only."""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from apple_seg.data import Cohort
from apple_seg.files import to_json, write_text
from apple_seg.host import Pipeline
from apple_seg.measure import score
from apple_seg.perturb import FitResult, fit
from apple_seg.perturb.limit import fine_tune
from apple_seg.perturb.progress import discard_checkpoint
from apple_seg.perturb.validation import candidate_of
from apple_seg.replay import ReplaySettings
from apple_seg.ship import save
from apple_seg.workflow import pipeline_of, wrapped
from benchmarks.ladder.climbs import Climb, done, trained
from benchmarks.ladder.scenarios import of_scenario, team_cases
from benchmarks.ladder.voting import put_rung_to_vote
from benchmarks.run import some

VALIDATION_CASES = 800


def climb(task: Climb, cohort: Cohort, *, progress: bool) -> Mapping[str, Any]:
    """Fit, and put it to the vote where the rung asks for it; what is done is not done again."""
    if (found := done(task)) is not None:
        return found
    splits = task.experiment.splits
    validation = some(cohort.split(splits.validation), VALIDATION_CASES)
    if trained(task) is None:
        if (other := task.trained_as) is not task:
            said = climb(other, cohort, progress=progress)["fit"]
            task.weights.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(other.weights, task.weights)
        else:
            train = train_cases(task, cohort.split(splits.fit))
            said = json.loads(to_json(_fit(task, train, validation, progress=progress).to_dict()))
        write_text(task.record, to_json({"identity": task.identity, "fit": said}))
    if task.rung.votes:
        put_rung_to_vote(task, validation, progress=progress)
    found = done(task)
    assert found is not None, task
    return found


def train_cases(task: Climb, train: Cohort) -> Cohort:
    """Return what a rung is fitted on; a case whose mask it does not have has none."""
    images = task.rung.images
    labelled = team_cases(train, task.cases, task.settings.seed)
    if images == "labelled":
        return labelled
    shown = team_cases(train, None, 0) if images == "both" else labelled
    has_mask = shown.table["case"].isin(labelled.table["case"]) & (images == "both")
    return replace(shown, table=shown.table.assign(mask=shown.table["mask"].where(has_mask, "")))


def _fit(task: Climb, train: Cohort, validation: Cohort, *, progress: bool) -> FitResult:
    """Train, and keep the weights."""
    experiment = of_scenario(task.experiment, task.scenario)
    experiment = replace(experiment, method=replace(task.method, vote=False))
    if task.rung.trains == "host from scratch":
        experiment = replace(experiment, host=replace(experiment.host, checkpoint=None))
        torch.manual_seed(task.settings.seed)
    given: dict[str, Any] = {
        "train": train,
        "validation": validation,
        "groups": experiment.groups,
        "method": experiment.method,
        "settings": task.settings,
        "progress": progress,
    }
    with wrapped(experiment, train) as segmentor:
        pipeline = pipeline_of(experiment, segmentor, train)
        if task.rung.trains == "nothing":
            return _untrained(task, pipeline, validation, progress=progress)
        if task.rung.whole_host:
            result = fine_tune(pipeline, **given)
            task.weights.parent.mkdir(parents=True, exist_ok=True)
            torch.save(segmentor.host.state_dict(), task.weights)
            return result
        replay = ReplaySettings(folder=records_of(task))
        result = fit(pipeline, **given, replay=replay, folder=task.stem)
        save(segmentor, task.weights, spec=experiment.host, cohort=train.digest())
    discard_checkpoint(task.stem)
    return result


def _untrained(task: Climb, pipeline: Pipeline, validation: Cohort, *, progress: bool) -> FitResult:
    """Return what a fit says, of a host that nothing is done to."""
    start = time.perf_counter()
    scores = score(pipeline, validation, metrics=("dice",), progress=progress)
    host = candidate_of(scores, validation, [task.experiment.groups], 0)
    return FitResult(
        method=task.method,
        settings=task.settings,
        sites=(),
        n_fit=0,
        n_validation=len(validation),
        trained_parameters=0,
        host_parameters=sum(value.numel() for value in pipeline.segmentor.host.parameters()),
        selected=host,
        candidates=(host,),
        losses=(),
        seconds=time.perf_counter() - start,
    )


def records_of(task: Climb) -> Path | None:
    """Return where the latents are kept for all rungs that record the same; None without any."""
    if task.rung.trains != "perturbers":
        return None
    cases = "all" if task.cases is None else f"{task.cases}-{task.settings.seed}"
    sites = task.method.parts.sites
    named = sites if isinstance(sites, str) else sha256(str(sites).encode()).hexdigest()[:8]
    stem = f"{task.scenario}-{named}-{task.rung.images}-{cases}"
    return task.experiment.output / "replay" / stem
