"""Climb the ladder: fit its rungs on train and validation, then audit them on the test split.

    python -m benchmarks.ladder fit --host unet --scenario as-deployed --cases 100
    python -m benchmarks.ladder show --host unet --scenario as-deployed --cases 100
    python -m benchmarks.ladder audit --host unet --scenario as-deployed --cases 100
    python -m benchmarks.ladder probe --rungs leace leace-statistics standardise --seeds 0
    python -m benchmarks.ladder race --host unet --cases all --seeds 0

Only `audit` reads a test case, and it refuses to while code or settings are not committed.
What is done already is skipped, so that everything can be stopped and started again, but for
`race`, which fits anew; where a GPU is there, it is used. HAM10000 in the environment says where
the set lies (benchmarks/README.md).
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from apple_seg.config import Experiment, read_experiment
from apple_seg.data import Groups
from apple_seg.errors import AppleSegError
from apple_seg.replay import discard_records
from benchmarks.ladder.climbs import Climb, answered, done, worst_of
from benchmarks.ladder.fitting import climb, records_of
from benchmarks.ladder.probing import probe
from benchmarks.ladder.racing import race
from benchmarks.ladder.results import audit_cell
from benchmarks.ladder.rungs import DEFAULT, LIMIT, ON_DEMAND, RUNGS, settings_of
from benchmarks.ladder.scenarios import SCENARIOS, team_cases
from benchmarks.run import changed

HOSTS = {path.stem: path for path in sorted((Path(__file__).parent / "hosts").glob("*.toml"))}


def main() -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ladder",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=list(_ACTIONS), help="as above")
    parser.add_argument("--host", choices=list(HOSTS), default="unet", help="unless said: unet")
    parser.add_argument(
        "--scenario",
        choices=list(SCENARIOS),
        nargs="+",
        default=list(SCENARIOS),
        help="whom the host was trained on, everybody or the young; unless said: both",
    )
    parser.add_argument(
        "--cases",
        nargs="+",
        default=["all", "100"],
        type=_number,
        help="how many are fitted on, numbers or all; unless said: all 100",
    )
    parser.add_argument(
        "--rungs",
        nargs="+",
        choices=list(RUNGS),
        default=[name for name in RUNGS if name not in ON_DEMAND],
        help=f"methods; unless said: all but {', '.join(ON_DEMAND)}",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="0 1 2, or others")
    parser.add_argument("--by", choices=["age", "sex"], default="age", help="who the groups are")
    parser.add_argument(
        "--keep-records",
        action="store_true",
        help="for rungs fitted later; unless said, what is recorded (of all cases some 30 GB) is "
        "deleted once all of these are fitted that use it, also where another command would have "
        "used it later",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no bars")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], help="key=value of the host's file"
    )
    options = parser.parse_args()
    gpu = ["device=cuda"] if torch.cuda.is_available() else []
    experiment = read_experiment(HOSTS[options.host], [*gpu, *options.overrides])
    if options.by == "sex":
        experiment = replace(
            experiment, groups=Groups(by={"sex": ["female", "male"]}, reference="sex = male")
        )
    _ACTIONS[options.action](experiment, options)


def _number(text: str) -> str:
    """Return a number of cases, or "all", as it was written."""
    if text != "all" and not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"a number of cases, or all; got {text}")
    return text


def _climbs(
    experiment: Experiment, options: Any, rungs: Iterable[str] | None = None
) -> Iterator[Climb]:
    train = experiment.cohort.read().split(experiment.splits.fit)
    every = len(team_cases(train, None, 0))
    for scenario in options.scenario:
        for cases in options.cases:
            number = None if cases == "all" else int(cases)
            for seed in options.seeds:
                for name in options.rungs if rungs is None else rungs:
                    rung = RUNGS[name]
                    yield Climb(
                        experiment=experiment,
                        scenario=scenario,
                        cases=number,
                        name=name,
                        rung=rung,
                        settings=settings_of(rung, number or every, seed, host=options.host),
                    )


def _fit(experiment: Experiment, options: Any) -> None:
    cohort = experiment.cohort.read()
    climbs = list(_climbs(experiment, options))
    last = {records_of(task): task for task in climbs}
    for task in tqdm(climbs, "fits", disable=options.quiet or None):
        record = climb(task, cohort, progress=not options.quiet)
        tqdm.write(f"{task.stem.relative_to(experiment.output)}: {_said(record['fit'])}")
        records = records_of(task)
        if records is not None and last[records] is task and not options.keep_records:
            discard_records(records)


def _audit(experiment: Experiment, options: Any) -> None:
    if changed():
        raise AppleSegError(
            "code or settings of the library, its adapters or the benchmarks are not committed, or "
            "git does not tell: commit the choice before the test split is read"
        )
    cases = experiment.cohort.read().split(experiment.splits.audit)
    cells: dict[str, dict[str, list[Climb]]] = {}
    for task in _climbs(experiment, options, RUNGS):
        rungs = cells.setdefault(task.cell, {})
        rungs.setdefault(task.name, []).append(task)
    for rungs in tqdm(cells.values(), "audits", disable=options.quiet or None):
        for said in audit_cell(options.host, rungs, cases, wanted=options.rungs):
            tqdm.write(said)


def _probe(experiment: Experiment, options: Any) -> None:
    for task in tqdm(list(_climbs(experiment, options)), "probes", disable=options.quiet or None):
        if path := probe(options.host, task):
            tqdm.write(f"wrote {path}")


def _race(experiment: Experiment, options: Any) -> None:
    cohort = experiment.cohort.read()
    racers: dict[tuple[str, int], list[Climb]] = {}
    for task in _climbs(experiment, options, [LIMIT, DEFAULT, "views"]):
        racers.setdefault((task.cell, task.settings.seed), []).append(task)
    for tasks in tqdm(racers.values(), "races", disable=options.quiet or None):
        tqdm.write(f"wrote {race(options.host, tasks, cohort)}")


def _show(experiment: Experiment, options: Any) -> None:
    found: dict[str, list[Any]] = {}
    for task in _climbs(experiment, options):
        if (record := done(task)) is not None:
            group = task.stem.parent.relative_to(experiment.output)
            found.setdefault(str(group), []).append(record["fit"])
    for name, fits in found.items():
        print(f"{name:<48}{_table(fits)}")


def _said(fit: Any) -> str:
    host, best = fit["candidates"][0], answered(fit)
    vote = f", by vote: {fit['vote']['kept']}" if fit["vote"] else ""
    return (
        f"{worst_of(host):.4f} -> {worst_of(best):.4f} in epoch {best['epoch']}, "
        f"{fit['trained_parameters'] / fit['host_parameters']:.1%} trained, {fit['seconds']:.0f} s"
        f"{vote}"
    )


def _table(fits: list[Any]) -> str:
    gains = [worst_of(answered(fit)) - worst_of(fit["candidates"][0]) for fit in fits]
    overall = [answered(fit)["overall"] - fit["candidates"][0]["overall"] for fit in fits]
    return (
        f"worst {np.mean(gains):+.4f} ({min(gains):+.4f} to {max(gains):+.4f}, {len(fits)} seeds) "
        f"overall {np.mean(overall):+.4f}, {np.mean([fit['seconds'] for fit in fits]):.0f} s"
    )


_ACTIONS: Mapping[str, Callable[[Experiment, Any], None]] = {
    "fit": _fit,
    "show": _show,
    "audit": _audit,
    "probe": _probe,
    "race": _race,
}


if __name__ == "__main__":
    try:
        main()
    except AppleSegError as error:
        raise SystemExit(f"error: {error}") from error
