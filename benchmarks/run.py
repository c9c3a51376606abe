"""Fit and audit an experiment's methods over seeds, and write one result file a method.

    python -m benchmarks.run fit benchmarks/experiments/ham10000-unet.toml --fit-cases 2000
    python -m benchmarks.run audit benchmarks/experiments/ham10000-unet.toml --fit-cases 2000

`fit` reads the train and validation splits only. `audit` scores the perturbers that `fit` left
on the test split. What is done already is skipped, so that both can be stopped and started again.
"""

import argparse
import itertools
import platform
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from apple_seg.audit import compare_scores
from apple_seg.config import Experiment, read_experiment
from apple_seg.data import Cohort
from apple_seg.errors import AppleSegError, FitError
from apple_seg.files import plain, to_json, write_text
from apple_seg.host import Pipeline, fingerprint
from apple_seg.measure import Predict, score
from apple_seg.perturb import fit
from apple_seg.perturb.progress import discard_checkpoint
from apple_seg.ship import attach, read_artifact, save
from apple_seg.workflow import caveats, pipeline_of, wrapped

RESULTS = Path(__file__).parent / "results"
SCENARIO = "as-deployed"


@dataclass(frozen=True)
class Task:
    """One method at its sites, fitted with several seeds."""

    experiment: Experiment
    seeds: tuple[int, ...]
    fit_cases: int | None
    validation_cases: int | None
    audit_cases: int | None

    @property
    def folder(self) -> Path:
        """Where its perturbers and scores are kept; not committed."""
        method = self.experiment.method
        cases = self.fit_cases or "all"
        return self.experiment.output / f"{method.name}-{method.sites}-{cases}"

    @property
    def records(self) -> Path:
        """Where the latents of its sites are kept, for all seeds and methods."""
        cases = self.fit_cases or "all"
        return self.experiment.output / "replay" / f"{self.experiment.method.sites}-{cases}"

    def perturber(self, seed: int) -> Path:
        """Return the file of one seed's perturbers."""
        return self.folder / f"seed-{seed}.safetensors"

    def scores(self, made_by: str) -> Path:
        """Return the file of the per-case scores of what has this digest or fingerprint."""
        return self.experiment.output / f"scores-{made_by[:12]}-{self.audit_cases or 'all'}.csv"


def main() -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["fit", "audit"])
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--methods", nargs="+", default=["apple", "segmentation-only"])
    parser.add_argument("--sites", nargs="+", default=["bottleneck"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--fit-cases", type=int, help="fit on so many cases, drawn with seed 0")
    parser.add_argument("--validation-cases", type=int, help="choose the epoch on so many")
    parser.add_argument("--audit-cases", type=int, help="audit so many, drawn with seed 0")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    commit()
    experiment = read_experiment(options.experiment, options.overrides)
    act = fit_task if options.action == "fit" else audit_task
    for task in tasks(experiment, options):
        print(f"{options.action}: {options.experiment.stem}, {task.experiment.method}", flush=True)
        act(task, options.experiment.stem)


def tasks(experiment: Experiment, options: Any) -> Iterator[Task]:
    """Yield a task a method and set of sites."""
    for name, sites in itertools.product(options.methods, options.sites):
        method = replace(experiment.method, name=name, sites=sites)
        chosen = replace(experiment, method=method)
        yield Task(
            chosen,
            tuple(options.seeds),
            options.fit_cases,
            options.validation_cases,
            options.audit_cases,
        )


def fit_task(task: Task, _name: str) -> None:
    """Fit every seed that is not fitted yet."""
    experiment = task.experiment
    cohort = experiment.cohort.read()
    train = some(cohort.split(experiment.splits.fit), task.fit_cases)
    validation = some(cohort.split(experiment.splits.validation), task.validation_cases)
    for seed in task.seeds:
        path = task.perturber(seed)
        if path.is_file():
            check_same(task, seed)
            continue
        with wrapped(experiment, train) as segmentor:
            result = fit(
                pipeline_of(experiment, segmentor, train),
                train=train,
                validation=validation,
                groups=experiment.groups,
                method=experiment.method,
                settings=replace(experiment.fit, seed=seed),
                replay=replace(experiment.replay, folder=task.records),
                folder=path.with_suffix(""),
            )
            record = {"fit": result.to_dict()}
            save(segmentor, path, spec=experiment.host, cohort=train.digest(), record=record)
        discard_checkpoint(path.with_suffix(""))
        print(f"  seed {seed}: {result.selected}", flush=True)


def check_same(task: Task, seed: int) -> None:
    """Refuse to go on from a perturber that was fitted otherwise.

    Raises:
        FitError: Its settings or its host are not those of the task.
    """
    path = task.perturber(seed)
    artifact, _ = read_artifact(path)
    settings = plain(replace(task.experiment.fit, seed=seed))
    same_host = artifact.fingerprint == fingerprint(task.experiment.host.build())
    if not same_host or artifact.record["fit"]["settings"] != settings:
        raise FitError(f"{path} was fitted with another host or other settings; move it away")


def audit_task(task: Task, name: str) -> None:
    """Score every seed's perturbers on the audit split and write the result file.

    Where validation kept the identity, the perturbed host is the host, bit for bit (the tests
    hold it), and its scores are the host's.
    """
    experiment = task.experiment
    cases = some(experiment.cohort.read().split(experiment.splits.audit), task.audit_cases)
    host = host_scores(task, cases)
    records = [read_artifact(task.perturber(seed))[0].record["fit"] for seed in task.seeds]
    tables = [
        host if record["selected"]["epoch"] == 0 else seed_scores(task, seed, cases)
        for seed, record in zip(task.seeds, records, strict=True)
    ]
    method = experiment.method
    result = {
        "set": name.partition("-")[0],
        "host": name.partition("-")[2],
        "method": str(method),
        "attribute": experiment.groups.attribute,
        "scenario": SCENARIO,
        "n_fit": records[0]["n_fit"],
        "seeds": list(task.seeds),
        "run": describe_run(task),
        "fit": records,
        "audit": audit_block(task, host, tables, cases),
    }
    stem = f"{result['host']}-{method.name}-{method.sites}-{experiment.groups.attribute}"
    path = RESULTS / str(result["set"]) / f"{stem}-{SCENARIO}-{result['n_fit']}.json"
    write_text(path, to_json(result))
    print(f"  wrote {path}", flush=True)


def audit_block(
    task: Task, host: pd.DataFrame, tables: Sequence[pd.DataFrame], cases: Cohort
) -> dict[str, Any]:
    """Compare the host with all seeds together, which are training runs, and with each alone."""
    experiment = task.experiment

    def compared(runs: Sequence[pd.DataFrame]) -> dict[str, Any]:
        comparison = compare_scores(
            host,
            runs,
            cases.table,
            experiment.groups,
            others=experiment.other_groups,
            settings=experiment.audit,
            caveats=caveats(experiment),
        )
        return comparison.to_dict()

    return {**compared(tables), "by_seed": [compared([table]) for table in tables]}


def host_scores(task: Task, cases: Cohort) -> pd.DataFrame:
    """Return the deployed host's scores, once for all methods."""
    path = task.scores(fingerprint(task.experiment.host.build()))
    if not path.is_file():
        with wrapped(task.experiment, cases) as segmentor:
            pipeline = pipeline_of(task.experiment, segmentor, cases)
            write_scores(path, pipeline.deployed, cases)
    return read_scores(path)


def seed_scores(task: Task, seed: int, cases: Cohort) -> pd.DataFrame:
    """Return the scores with one seed's perturbers, attached as production would."""
    check_same(task, seed)
    path = task.scores(read_artifact(task.perturber(seed))[0].digest)
    if not path.is_file():
        spec = task.experiment.host
        segmentor = attach(spec.build(task.experiment.device), task.perturber(seed), spec=spec)
        write_scores(path, Pipeline(segmentor, spec, list(cases.classes)), cases)
    return read_scores(path)


def write_scores(path: Path, predict: Predict, cases: Cohort) -> None:
    """Score and store."""
    table = score(predict, cases)
    write_text(path, table.to_csv(index=False))


def read_scores(path: Path) -> pd.DataFrame:
    """Read what `write_scores` stored."""
    text = dict.fromkeys(("case", "cluster", "class"), "string")
    return pd.read_csv(path, dtype=text)


def some(cohort: Cohort, cases: int | None) -> Cohort:
    """Return so many cases of a cohort, drawn with seed 0; all where `cases` is None."""
    order = np.random.default_rng(0).permutation(cohort.table.index.to_numpy())
    return cohort if cases is None else cohort.take(order[:cases])


def describe_run(task: Task) -> dict[str, Any]:
    """Say what made this result."""
    spec = task.experiment.host
    return {
        "commit": commit(),
        **describe_machine(),
        "host_fingerprint": fingerprint(spec.build()),
        "host_spec": spec.identity(),
    }


def describe_machine() -> dict[str, str]:
    """Say where a result was made."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }


@cache
def commit() -> str:
    """Return the commit that this ran on, asked at the start; a + where files had changed."""
    return (_git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed() else "")


def changed() -> bool:
    """Say whether code or settings are not as they were committed, or git does not tell."""
    code = ("*.py", "*.toml", "../apple_seg", "../adapters")
    return _git("status", "--porcelain", "--", *code) != ""


def _git(*arguments: str) -> str | None:
    """Return what git says, asked here; None where it says nothing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


if __name__ == "__main__":
    try:
        main()
    except AppleSegError as error:
        raise SystemExit(f"error: {error}") from error
