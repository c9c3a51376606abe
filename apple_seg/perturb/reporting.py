"""What is told of a fit: the lines of its log, numbers for trackers, and the result."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from apple_seg.files import plain
from apple_seg.perturb.preflight import count_groups
from apple_seg.perturb.progress import Progress
from apple_seg.perturb.recipe import Recipe
from apple_seg.perturb.record import FitResult
from apple_seg.perturb.selection import Candidate
from apple_seg.perturb.task import FitTask
from apple_seg.processes import Processes
from apple_seg.replay import ReplayNote

_HELD = 0.05
"""How much of its start a running mean may hold at the end."""


def start_event(identity: Mapping[str, Any], processes: Processes) -> dict[str, Any]:
    """Return the first line of the log: what the fit is of, and how many processes share it."""
    told: dict[str, Any] = plain({"event": "start", **identity, "processes": processes.count})
    return told


def epoch_event(
    progress: Progress, losses: Mapping[str, float], *, trained: float, seconds: float
) -> dict[str, Any]:
    """Return the line of the log that says how the last epoch went.

    Args:
        progress: After that epoch.
        losses: Mean of each loss term; none for the identity.
        trained: Seconds of its training.
        seconds: Of its training and validation.
    """
    candidate = progress.candidates[-1]
    return {
        "event": "epoch",
        "epoch": candidate.epoch,
        "losses": dict(losses),
        "validation": _scores(candidate),
        "kept": progress.kept,
        "seconds_training": trained,
        "seconds": seconds,
    }


def tracked(progress: Progress, losses: Mapping[str, float]) -> dict[str, float]:
    """Return the last epoch's numbers as trackers take them: `loss/...` and `validation/...`."""
    scores = _scores(progress.candidates[-1])
    named = {f"loss/{name}": value for name, value in losses.items()}
    return named | {f"validation/{name}": value for name, value in scores.items()}


def slow_mean(task: FitTask) -> str | None:
    """Say so where a fit ends before its running mean of weights has left where it started."""
    decay = task.settings.average
    steps = task.settings.epochs * -(-task.sampler.batches // task.settings.accumulate)
    if not decay or task.method.solved or (held := decay**steps) <= _HELD:
        return None
    enough = math.ceil(math.log(_HELD) / math.log(decay))
    return (
        f"average = {decay:g} over {steps} steps leaves {held:.0%} of the start, which changes "
        f"nothing, in what is kept: lower it, or let the fit have {enough} steps (more epochs, "
        "draws, or smaller batches)"
    )


def result_of(task: FitTask, recipe: Recipe, progress: Progress, note: ReplayNote) -> FitResult:
    """Return what a fit that has ended did."""
    segmentor, first = task.pipeline.segmentor, task.attributes.first
    return FitResult(
        method=task.method,
        settings=task.settings,
        sites=tuple(map(str, segmentor.sites)),
        n_fit=len(task.train),
        n_validation=len(task.validation),
        trained_parameters=_count(recipe.perturbers),
        host_parameters=_count([segmentor.host]),
        selected=progress.candidates[progress.kept],
        candidates=tuple(progress.candidates),
        losses=tuple(progress.losses),
        seconds=task.drawing + progress.seconds,
        training_seconds=tuple(
            line["seconds_training"] for line in progress.log if line.get("epoch")
        ),
        judged_by=task.judged_by,
        groups=count_groups(first, task.train) if first else {},
        replay=note,
    )


def _scores(candidate: Candidate) -> dict[str, float]:
    return {"overall": candidate.overall, **candidate.by_group}


def _count(modules: Sequence[nn.Module]) -> int:
    return sum(value.numel() for module in modules for value in module.parameters())
