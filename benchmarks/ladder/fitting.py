"""Fit one rung on cases that its host has not seen, on train and validation splits only."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from apple_seg.config import Experiment
from apple_seg.data import Case, Cohort
from apple_seg.files import to_json, write_text
from apple_seg.host import Pipeline
from apple_seg.measure import Predict, score
from apple_seg.perturb import FitResult, FitSettings, fit
from apple_seg.perturb.limit import fine_tune
from apple_seg.perturb.progress import discard_checkpoint
from apple_seg.perturb.targets import Masks, consensus
from apple_seg.perturb.validation import candidate_of
from apple_seg.replay import ReplaySettings
from apple_seg.ship import save
from apple_seg.workflow import pipeline_of, wrapped
from benchmarks.ladder.rungs import VIEWS, Rung
from benchmarks.ladder.scenarios import of_scenario, team_cases
from benchmarks.run import some

VALIDATION_CASES = 800


@dataclass(frozen=True, kw_only=True)
class Climb:
    """One rung, one host, one scenario, so many cases, one seed."""

    experiment: Experiment
    """Of the host; its checkpoint's name lacks the scenario."""

    scenario: str
    cases: int | None
    """None for all that there are."""

    name: str
    rung: Rung
    settings: FitSettings

    @property
    def cell(self) -> str:
        """Name what all rungs share that can be compared with each other."""
        return f"{self.scenario}-{self.cases or 'all'}-{self.experiment.groups.attribute}"

    @property
    def stem(self) -> Path:
        """Where what comes of it is kept, without the suffix; not committed."""
        return self.experiment.output / self.cell / self.name / f"seed-{self.settings.seed}"

    @property
    def weights(self) -> Path:
        """The perturbers, or the weights of a host: trained ones, or those that it came with."""
        if self.rung.trains == "nothing":
            return checkpoint_of(of_scenario(self.experiment, self.scenario))
        return self.stem.with_suffix(".pt" if self.rung.whole_host else ".safetensors")

    @property
    def record(self) -> Path:
        """What the fit said."""
        return self.stem.with_suffix(".json")

    @property
    def identity(self) -> dict[str, Any]:
        """What another fit would have otherwise, as JSON has it."""
        images = self.rung.images
        said = {"method": self.rung.method.parts, "images": images, "settings": self.settings}
        loaded: dict[str, Any] = json.loads(to_json(said))
        return loaded


def checkpoint_of(experiment: Experiment) -> Path:
    """Return where the weights of the host as deployed are."""
    checkpoint = experiment.host.checkpoint
    if checkpoint is None:
        raise ValueError("[host] checkpoint says which host it is, and is missing")
    return Path(checkpoint)


def done(task: Climb) -> dict[str, Any] | None:
    """Return the record of a climb that was made with these very settings."""
    if not (task.record.is_file() and task.weights.is_file()):
        return None
    record: dict[str, Any] = json.loads(task.record.read_text())
    return record if record["identity"] == task.identity else None


def climb(task: Climb, cohort: Cohort, *, progress: bool) -> Mapping[str, Any]:
    """Fit, unless it is done, and return the record."""
    if (found := done(task)) is not None:
        return found
    splits = task.experiment.splits
    train = train_cases(task, cohort.split(splits.fit))
    validation = some(cohort.split(splits.validation), VALIDATION_CASES)
    result = _fit(task, train, validation, progress=progress)
    record = {"identity": task.identity, "fit": json.loads(to_json(result.to_dict()))}
    write_text(task.record, to_json(record))
    return record


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
    experiment = of_scenario(task.experiment, task.scenario)
    experiment = replace(experiment, method=task.rung.method)
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
        replay = ReplaySettings(folder=_records(task, experiment))
        result = fit(pipeline, **given, replay=replay, folder=task.stem)
        save(segmentor, task.weights, spec=experiment.host, cohort=train.digest())
    discard_checkpoint(task.stem)
    return result


def agreed(pipeline: Pipeline) -> Predict:
    """Return the host that answers with what most of its masks in all views agree on."""

    def predict(cases: Sequence[Case]) -> list[Masks]:
        with pipeline.segmentor.disabled():
            return [consensus(pipeline, case, VIEWS) for case in cases]

    return predict


def _untrained(task: Climb, pipeline: Pipeline, validation: Cohort, *, progress: bool) -> FitResult:
    """Return what a fit says, of a host whose masks in all views are put to the vote."""
    start = time.perf_counter()
    candidates = []
    for epoch, predict in enumerate((pipeline.deployed, agreed(pipeline))):
        scores = score(predict, validation, metrics=("dice",), progress=progress)
        candidates.append(candidate_of(scores, validation, [task.experiment.groups], epoch))
    return FitResult(
        method=task.rung.method,
        settings=task.settings,
        sites=(),
        n_fit=0,
        n_validation=len(validation),
        trained_parameters=0,
        host_parameters=sum(value.numel() for value in pipeline.segmentor.host.parameters()),
        selected=candidates[-1],
        candidates=tuple(candidates),
        losses=(),
        seconds=time.perf_counter() - start,
    )


def _records(task: Climb, experiment: Experiment) -> Path:
    """Return where the latents are kept for all rungs that record the same."""
    cases = "all" if task.cases is None else f"{task.cases}-{task.settings.seed}"
    sites = experiment.method.parts.sites
    named = sites if isinstance(sites, str) else sha256(str(sites).encode()).hexdigest()[:8]
    stem = f"{task.scenario}-{named}-{task.rung.images}-{cases}"
    return task.experiment.output / "replay" / stem
