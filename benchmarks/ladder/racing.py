"""How long others take to what fine-tuning reaches on validation, each from nothing."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from apple_seg.data import Cohort
from apple_seg.files import to_json, write_text
from benchmarks.ladder.climbs import Climb, answered, worst_of
from benchmarks.ladder.fitting import climb
from benchmarks.run import commit, describe_machine
from benchmarks.speed import tables

RESULTS = Path(__file__).parent.parent / "results" / "race"


def race(host: str, tasks: Sequence[Climb], cohort: Cohort, folder: Path = RESULTS) -> Path:
    """Fit one after the other, for all its epochs, for half of them and so on; write times.

    A run's time is all that a user waits for: what is recorded, training, validation and, where a
    rung votes, the vote. Nothing of an earlier fit is there to go on from.

    Args:
        host: Its name.
        tasks: A climb of each rung that races, with the same cases and seed; one is fine-tuning.
        cohort: With train and validation splits.
        folder: Where results are kept.
    """
    first = tasks[0]
    result = {
        "host": host,
        "scenario": first.scenario,
        "cases": first.cases or "all",
        "attribute": first.experiment.groups.attribute,
        "seed": first.settings.seed,
        "runs": [_run(one, cohort) for task in tasks for one in _shortened(task)],
        "run": {**describe_machine(), "commit": commit()},
    }
    path = folder / f"{host}-{first.cell}-seed-{first.settings.seed}.json"
    write_text(path, to_json(result))
    return path


def read_races(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Read all results."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return a row a run; what reaches the limit's best stands beside the time to that."""
    header = ["host, scenario", "rung", "epochs", "worst group, validation", "s"]
    lines = tables.heading([*header, "time of the limit"])
    for result in results:
        cell = f"{result['host']}, {result['scenario']}, {result['cases']} cases"
        level, seconds = target(result["runs"])
        for number, one in enumerate(result["runs"]):
            ratio = f"{one['seconds'] / seconds:.2f}" if one["worst"] >= level else "not reached"
            mean = f"{one['worst']:.4f} ({one['worst'] - one['host']:+.4f})"
            row = ["" if number else cell, one["rung"], str(one["epochs"]), mean]
            lines.append(tables.line([*row, f"{one['seconds']:.0f}", ratio]))
    return "\n".join(lines) + "\n"


def target(runs: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the Dice that fine-tuning reaches in all its epochs, and its shortest way to that."""
    limits = [one for one in runs if one["whole_host"]]
    level = max(limits, key=lambda one: one["epochs"])["worst"]
    return level, min(one["seconds"] for one in limits if one["worst"] >= level)


def _shortened(task: Climb) -> Iterator[Climb]:
    if task.rung.trains == "nothing":
        yield task
        return
    epochs = task.settings.epochs
    while epochs:
        yield replace(task, settings=replace(task.settings, epochs=epochs))
        epochs //= 2


def _run(task: Climb, cohort: Cohort) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        task = replace(task, experiment=replace(task.experiment, output=Path(folder)))
        start = time.perf_counter()
        fit = climb(task, cohort, progress=False)["fit"]
        seconds = time.perf_counter() - start
    return {
        "rung": task.name,
        "whole_host": task.rung.whole_host,
        "epochs": 0 if task.rung.trains == "nothing" else task.settings.epochs,
        "seconds": seconds,
        "training_seconds": sum(fit["training_seconds"]),
        "replay": bool((fit["replay"] or {}).get("used")),
        "host": worst_of(fit["candidates"][0]),
        "worst": worst_of(answered(fit)),
    }
