"""A rung as production would have it, and whether validation prefers its answers by vote."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import torch

from apple_seg.data import Cohort
from apple_seg.files import to_json, write_text
from apple_seg.host import Pipeline
from apple_seg.perturb.selection import Candidate
from apple_seg.perturb.voting import put_to_vote
from apple_seg.views import AS_IS
from apple_seg.workflow import attach_experiment, pipeline_of, wrapped
from benchmarks.ladder.climbs import Climb, digest, done, trained
from benchmarks.ladder.scenarios import of_scenario


@contextmanager
def answering(task: Climb, cohort: Cohort) -> Iterator[Pipeline]:
    """Attach the perturbers, or build the trained host; it answers in one view, or by vote."""
    experiment = of_scenario(task.experiment, task.scenario)
    if task.rung.trains == "perturbers":
        segmentor = attach_experiment(experiment, task.weights)
        segmentor.views = views_of(task)
        try:
            yield pipeline_of(experiment, segmentor, cohort)
        finally:
            segmentor.detach()
        return
    with wrapped(experiment, cohort) as segmentor:
        if task.rung.whole_host:
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
            progress=progress,
        )
    said = {
        "identity": task.identity,
        "weights": digest(task.weights),
        "vote": asdict(vote),
        "seconds": time.perf_counter() - start,
    }
    write_text(task.vote_record, to_json(said))


def views_of(task: Climb) -> tuple[str, ...]:
    """Return the views whose vote a rung answers by; one view for none."""
    record = done(task) if task.rung.votes else None
    vote = record["fit"]["vote"] if record else None
    return tuple(vote["views"]) if vote and vote["kept"] else AS_IS
