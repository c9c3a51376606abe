"""A rung as production would have it, and whether validation prefers its answers by vote."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from apple_seg.data import Cohort
from apple_seg.files import to_json, write_text
from apple_seg.host import Pipeline
from apple_seg.perturb.selection import Candidate
from apple_seg.perturb.voting import put_to_vote
from apple_seg.views import AS_IS
from apple_seg.workflow import attach_experiment, pipeline_of, wrapped
from benchmarks.ladder.climbs import Climb, checkpoint_of, digest, done, trained
from benchmarks.ladder.scenarios import of_scenario


@contextmanager
def answering(task: Climb, cohort: Cohort) -> Iterator[Pipeline]:
    """Attach the perturbers, or build the trained host; it answers in one view, or by vote.

    Where the vote of the untouched host is kept, that is what answers.
    """
    experiment = of_scenario(task.experiment, task.scenario)
    fitted = answering_weights(task) == task.weights
    if task.rung.trains == "perturbers" and fitted:
        segmentor = attach_experiment(experiment, task.weights)
        segmentor.views = views_of(task)
        try:
            yield pipeline_of(experiment, segmentor, cohort)
        finally:
            segmentor.detach()
        return
    with wrapped(experiment, cohort) as segmentor:
        if task.rung.whole_host and fitted:
            weights = torch.load(task.weights, map_location="cpu", weights_only=True)
            segmentor.host.load_state_dict(weights)
        segmentor.views = views_of(task)
        yield pipeline_of(experiment, segmentor, cohort)


def put_rung_to_vote(task: Climb, validation: Cohort, *, progress: bool) -> None:
    """Ask validation, as a fit with `vote` does at its end, and write what it says."""
    record = trained(task)
    assert record is not None, task
    fit, start = record["fit"], time.perf_counter()
    with answering(task, validation) as pipeline:
        vote = put_to_vote(
            pipeline,
            validation,
            groups=task.experiment.groups,
            settings=task.settings,
            identity=Candidate(**fit["candidates"][0]),
            chosen=Candidate(**fit["selected"]),
            untouched=lambda: _untouched(task, pipeline),
            progress=progress,
        )
    said = {
        "identity": task.identity,
        "weights": digest(task.weights),
        "vote": asdict(vote),
        "seconds": time.perf_counter() - start,
    }
    write_text(task.vote_record, to_json(said))


@contextmanager
def _untouched(task: Climb, pipeline: Pipeline) -> Iterator[None]:
    """Make it the host as deployed: without its perturbers, or with the weights it came with."""
    host = pipeline.segmentor.host
    if not task.rung.whole_host:
        with pipeline.segmentor.disabled():
            yield
        return
    fitted = deepcopy(host.state_dict())
    host.load_state_dict(of_scenario(task.experiment, task.scenario).host.build().state_dict())
    try:
        yield
    finally:
        host.load_state_dict(fitted)


def answering_weights(task: Climb) -> Path:
    """Return whose weights answer: the trained ones, or the host's where its own vote is kept."""
    vote = _kept(task)
    if vote and vote["candidate"]["epoch"] == 0:
        return checkpoint_of(of_scenario(task.experiment, task.scenario))
    return task.weights


def views_of(task: Climb) -> tuple[str, ...]:
    """Return the views whose vote a rung answers by; one view for none."""
    vote = _kept(task)
    return tuple(vote["views"]) if vote else AS_IS


def _kept(task: Climb) -> dict[str, Any] | None:
    """Return the vote that a rung answers by, if it does."""
    record = done(task) if task.rung.votes else None
    vote: dict[str, Any] | None = record["fit"]["vote"] if record else None
    return vote if vote and vote["kept"] else None
