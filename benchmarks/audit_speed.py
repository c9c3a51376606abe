"""Time the audit of HAM10000's test cases from stored predictions, beside medpy in a plain loop.

    OMP_NUM_THREADS=1 HAM10000=/path/to/ham10000.zip python -m benchmarks.audit_speed

The first run stores the U-Net's predictions as 1-bit PNGs in runs/audit-speed (a minute). Then, in
turn: `score` with all metrics; a fresh Python that imports the library, reads manifest and
predictions, scores, and audits the groups; and a loop of medpy's functions over the same files, in
one process, as somebody would write it. Seconds are meant for an idle machine: the load that each
was taken under stands beside it, and the processors' own seconds, which depend on it less.
"""

import argparse
import io
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from medpy.metric import binary
from PIL import Image
from tqdm import tqdm

from apple_seg.audit import audit_scores
from apple_seg.audit.inference.bootstrap import resample_means
from apple_seg.audit.inference.intervals import sum_clusters
from apple_seg.config import Experiment, read_experiment
from apple_seg.data import Cohort
from apple_seg.files import replacing, to_json, write_text
from apple_seg.measure import METRICS, score, stored_masks

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "audit_speed.json"
PREDICTIONS = HERE.parent / "runs" / "audit-speed" / "predictions"
MEDPY = {"dice": binary.dc, "iou": binary.jc, "volume_error": binary.ravd}
MEDPY_SURFACES = {"hd95": binary.hd95, "assd": binary.assd}


def main() -> None:
    """Store the predictions where they are not yet, time everything, and write what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--once", action="store_true", help="audit once, and time nothing")
    options = parser.parse_args()
    experiment = read_experiment(HERE / "experiments" / "ham10000-unet.toml", [])
    if options.once:
        print(audit_once(experiment))
        return
    from benchmarks.run import commit  # which imports all that a fit needs, and an audit does not

    made_by = commit()
    cohort = experiment.cohort.read().split(experiment.splits.audit)
    store(experiment, cohort)
    masks = stored_masks(PREDICTIONS, cohort)
    kinds: dict[str, Callable[[], Any]] = {
        "score": lambda: score(masks, cohort, metrics=tuple(METRICS), progress=False),
        "end_to_end": fresh_audit,
        "medpy": lambda: medpy_alone(cohort),
        "bootstrap": bootstrap,
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in kinds}
    found = {}
    for _ in range(options.repeats):
        for name, work in kinds.items():
            found[name], taken = timed(work)
            runs[name].append(taken)
            print(name, {key: round(value, 2) for key, value in taken.items()}, flush=True)
    summary = {name: summarised(taken) for name, taken in runs.items()}
    content = {
        "commit": made_by,
        "versions": versions(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        "cases": len(cohort),
        "metrics": list(METRICS),
        "medpy_metrics": [*MEDPY, *MEDPY_SURFACES],
        "largest_difference_from_medpy": differences(found["score"], found["medpy"]),
        **summary,
        "medpy_over_score": ratios(summary, "score"),
        "medpy_over_end_to_end": ratios(summary, "end_to_end"),
    }
    write_text(RESULTS, to_json(content))


def bootstrap() -> None:
    """Draw 10,000 resamples of 10,000 cases of 7,000 patients in 5 groups."""
    rng = np.random.default_rng(0)
    clusters = np.r_[np.arange(7000), rng.integers(0, 7000, 3000)]
    groups = rng.integers(0, 5, 7000)[clusters]
    sums = sum_clusters(rng.beta(9, 1, 10_000), groups=groups, clusters=clusters, n_groups=5)
    resample_means(sums, resamples=10_000, seed=0)


def store(experiment: Experiment, cohort: Cohort) -> None:
    """Predict what is not stored yet, and store it under the paths of the true masks."""
    lacking = [
        row for row, name in enumerate(cohort.table["mask"]) if not (PREDICTIONS / name).is_file()
    ]
    if not lacking:
        return
    from apple_seg.workflow import pipeline_of, wrapped

    with wrapped(experiment, cohort) as segmentor:
        predict = pipeline_of(experiment, segmentor, cohort).deployed
        for start in tqdm(range(0, len(lacking), 16), "storing predictions"):
            cases = [cohort[row] for row in lacking[start : start + 16]]
            for case, mask in zip(cases, predict(cases), strict=True):
                path = PREDICTIONS / case.row["mask"]
                with replacing(path) as temporary:
                    Image.fromarray(mask[0]).save(temporary, "PNG")


def audit_once(experiment: Experiment) -> str:
    """Do what a user does who has predictions in files."""
    cohort = experiment.cohort.read().split(experiment.splits.audit)
    scores = score(stored_masks(PREDICTIONS, cohort), cohort, progress=False)
    found = audit_scores(
        scores, cohort.table, experiment.groups, settings=experiment.audit, caveats=()
    )
    return found.to_json()


def fresh_audit() -> None:
    """Run `audit_once` in a Python of its own, its imports included."""
    command = [sys.executable, "-m", "benchmarks.audit_speed", "--once"]
    subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.DEVNULL)


def medpy_alone(cohort: Cohort) -> pd.DataFrame:
    """Score with medpy's functions, a case after the other, on whole images."""
    rows = []
    for name in cohort.table["mask"]:
        truth = np.asarray(Image.open(io.BytesIO(cohort.source.open(name)))) > 0
        predicted = np.asarray(Image.open(PREDICTIONS / name)) > 0
        row = {key: metric(predicted, truth) for key, metric in MEDPY.items()}
        if predicted.any() and truth.any():  # else these raise
            row |= {key: metric(predicted, truth) for key, metric in MEDPY_SURFACES.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Return what `work` returns, and its seconds: on the wall, and of all processors."""
    load, start, used = os.getloadavg()[0], time.perf_counter(), _processors()
    found = work()
    seconds = time.perf_counter() - start
    return found, {"seconds": seconds, "processor_seconds": _processors() - used, "load": load}


def _processors() -> float:
    own, ended = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def summarised(runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return best and median of each figure beside all of them."""
    columns = {key: [run[key] for run in runs] for key in runs[0]}
    keys = ("seconds", "processor_seconds")
    return {
        **{f"best_{key}": min(columns[key]) for key in keys},
        **{f"median_{key}": statistics.median(columns[key]) for key in keys},
        "runs": list(runs),
    }


def ratios(summary: dict[str, Any], name: str) -> dict[str, float]:
    """Say how many times as long medpy takes."""
    keys = [key for key in summary[name] if key != "runs"]
    return {key: summary["medpy"][key] / summary[name][key] for key in keys}


def differences(scores: pd.DataFrame, medpy: pd.DataFrame) -> dict[str, float]:
    """Return by how much the numbers differ at most, so that it is known what was timed."""
    return {str(name): float((scores[name] - medpy[name]).abs().max()) for name in medpy}


def versions() -> dict[str, str]:
    """Say what the numbers depend on."""
    packages = ("numpy", "scipy", "pandas", "pillow", "medpy", "torch")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


if __name__ == "__main__":
    main()
