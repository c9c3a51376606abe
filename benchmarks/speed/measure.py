"""The measurements, each a function that returns rows for the results file."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from apple_seg.data import Cohort
from apple_seg.host import Pipeline
from apple_seg.perturb import FitResult, FitSettings, MethodSpec, fit
from apple_seg.replay import ReplaySettings
from benchmarks.speed.loops import (
    DecoderOnly,
    FineTuning,
    PlainLoop,
    batches,
    seconds,
)
from benchmarks.speed.subjects import GROUPS, SUBJECTS, Subject, cohort

Row = dict[str, Any]
VALIDATION = 2
ROOT = Path(__file__).parents[2]


def compare_hosts(
    name: str, sites: str, perturber: str, *, repeats: int, device: str, cases: int | None
) -> Row:
    """Time an epoch of every way to train, on the same cases, and return the medians."""
    subject = SUBJECTS[name]
    count = cases or subject.cases
    size = subject.batch_size
    train = cohort(count, subject.size)
    pipeline = subject.pipeline(sites, device)
    plain, whole = PlainLoop(pipeline, perturber), FineTuning(pipeline)
    first = next(batches(pipeline, train, size))
    limits = {
        "decoder_only_s": DecoderOnly(pipeline, perturber, first),
        "decoder_bare_s": DecoderOnly(pipeline, None, first),
    }
    steps = count // size
    loops = {
        "plain_loop_s": lambda: plain.epoch(train, size),
        "finetune_s": lambda: whole.epoch(train, subject.finetune_batch or size),
    }
    timed: dict[str, list[float]] = {}
    for _ in range(repeats):  # side by side, so that all meet the same machine
        for label, loop in loops.items():
            timed.setdefault(label, []).append(seconds(loop))
        for label, limit in limits.items():
            timed.setdefault(label, []).extend(steps * one for one in limit.steps(3))
    with tempfile.TemporaryDirectory() as folder:
        replayed = fit_subject(subject, pipeline, train, perturber, "disk", repeats, Path(folder))
    direct = fit_subject(subject, pipeline, train, perturber, "off", repeats, None)
    pipeline.segmentor.detach()
    note = replayed.replay
    timed |= {
        "fit_s": list(direct.training_seconds),
        "replay_s": list(replayed.training_seconds),
    }
    assert note is not None
    assert note.deviation is not None
    return {
        "host": name,
        "sites": sites,
        "perturber": perturber,
        "device": _device(device),
        "cases": count,
        "batch_size": size,
        "repeats": repeats,
        **{label: statistics.median(values) for label, values in timed.items()},
        "range": {label: [min(values), max(values)] for label, values in timed.items()},
        "record_s": note.record_seconds * count / (count + VALIDATION),
        "store_mb": note.store_bytes / 1e6,
        "perturber_parameters": replayed.trained_parameters,
        "host_parameters": replayed.host_parameters,
        "outputs_off": note.deviation.outputs,
        "gradients_off": note.deviation.gradients,
    }


def grow(cases: int, *, perturber: str) -> Row:
    """Time a fit of so many cases in a process of its own, and watch its anonymous memory."""
    script = f"from benchmarks.speed.measure import _grown; _grown({cases}, {perturber!r})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def _grown(cases: int, perturber: str) -> None:
    subject = SUBJECTS["unet"]
    pipeline = subject.pipeline("all")
    train = cohort(cases, subject.size)
    idle = _anonymous()
    with tempfile.TemporaryDirectory() as folder, _watched() as peak:
        result = fit_subject(subject, pipeline, train, perturber, "disk", 2, Path(folder))
    note = result.replay
    assert note is not None
    row = {
        "host": "unet",
        "sites": "all",
        "perturber": perturber,
        "device": _device("cpu"),
        "cases": cases,
        "replay_s": statistics.median(result.training_seconds),
        "record_s": note.record_seconds * cases / (cases + VALIDATION),
        "store_mb": note.store_bytes / 1e6,
        "anonymous_mb_before": idle / 1e6,
        "anonymous_mb_peak": max(peak) / 1e6,
    }
    print(json.dumps(row))


def share(processes: int, *, cases: int, threads: int = 1) -> Row:
    """Time a fit of the U-Net in so many processes of so many threads each."""
    launcher = ["-m", "accelerate.commands.launch", "--num_machines", "1"]
    launcher += ["--num_processes", str(processes), "--mixed_precision", "no"]
    launcher += ["--multi_gpu"] if processes > 1 else []
    launcher += ["--dynamo_backend", "no", "-m", "benchmarks.speed.shared", str(cases)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, *launcher], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return {"processes": processes, **row}


def profile(name: str, sites: str, perturber: str, *, repeats: int) -> Row:
    """Say where the time of a replayed step goes, part by part."""
    from benchmarks.speed.parts import parts_of_a_step

    subject = SUBJECTS[name]
    found = parts_of_a_step(subject, sites, perturber, repeats=repeats)
    return {"host": name, "sites": sites, "perturber": perturber, "device": _device("cpu"), **found}


def fit_subject(
    subject: Subject,
    pipeline: Pipeline,
    train: Cohort,
    perturber: str,
    store: str,
    epochs: int,
    folder: Path | None,
) -> FitResult:
    """Fit with APPLE for so many epochs; validation is next to nothing."""
    return fit(
        pipeline,
        train=train,
        validation=cohort(VALIDATION, subject.size, "val"),
        groups=GROUPS,
        method=MethodSpec(name="apple", perturber=perturber),
        settings=FitSettings(epochs=epochs, batch_size=subject.batch_size),
        replay=ReplaySettings(store=store),  # type: ignore[arg-type]
        folder=folder,
        progress=False,
    )


@contextmanager
def _watched() -> Iterator[list[int]]:
    """Yield a list that the anonymous memory of this process is added to, ten times a second."""
    seen, over = [_anonymous()], threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            seen.append(_anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def _anonymous() -> int:
    """Return the resident memory that no file stands behind, in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024


def _device(device: str) -> str:
    if device == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    return torch.cuda.get_device_name()
