"""One look at the test split: every rung that was fitted, beside its host and other rungs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from apple_seg.audit import AuditSettings, compare_scores
from apple_seg.audit.context import Context
from apple_seg.config import Experiment
from apple_seg.data import Cohort, Groups
from apple_seg.files import write_text
from apple_seg.measure import Predict, score
from apple_seg.views import AS_IS
from apple_seg.workflow import caveats, pipeline_of, wrapped
from benchmarks.ladder.climbs import Climb, checkpoint_of, digest
from benchmarks.ladder.scenarios import of_scenario
from benchmarks.ladder.voting import answering, answering_weights, views_of
from benchmarks.run import read_scores

SETTINGS = AuditSettings(metrics=("dice",), gallery=0, resamples=0, permutations=0)


def audit_rung(
    climbs: Sequence[Climb], others: Mapping[str, Sequence[Climb]], cases: Cohort
) -> dict[str, Any]:
    """Compare a rung's seeds with the host, and with other rungs that have the same seeds.

    Args:
        climbs: A seed each.
        others: By name, what the rung is to stand beside.
        cases: Of the test split.
    """
    host = host_scores(climbs[0], cases)
    runs = [scores(climb, cases) for climb in climbs]
    experiment = climbs[0].experiment
    groups = experiment.groups
    return {
        "against_host": _compared(experiment, host, runs, cases),
        "by_seed": [_compared(experiment, host, [run], cases) for run in runs],
        "against": {
            name: {"change": beside([scores(one, cases) for one in other], runs, cases, groups)}
            for name, other in others.items()
        },
    }


def beside(
    controls: Sequence[pd.DataFrame], runs: Sequence[pd.DataFrame], cases: Cohort, groups: Groups
) -> dict[str, Any]:
    """Estimate by how much Dice changes from a control to a run, group by group.

    A run and the control of its seed were fitted on the same cases, from the same start: what
    varies between seeds is the difference of the two. Case by case it is between -1 and 1.

    Args:
        controls: Scores, a table a seed, of one class.
        runs: Of the same cases and seeds, in the same order.
        cases: Of the test split.
        groups: Who is told apart.
    """
    changes = []
    for control, run in zip(controls, runs, strict=True):
        if not control["case"].equals(run["case"]):
            raise ValueError("scores of other cases, or in another order")
        changes.append(
            control[["case", "cluster"]].assign(change_dice=run["dice"] - control["dice"])
        )
    mean = changes[0].assign(change_dice=np.mean([one["change_dice"] for one in changes], axis=0))
    context = Context.of(groups, controls[0], cases.table, SETTINGS, (), 1)
    found = context.estimate("change_dice", mean, changes)
    return _block(asdict(found))


def host_scores(climb: Climb, cases: Cohort) -> pd.DataFrame:
    """Return the scores of the host as deployed, once for all rungs."""
    experiment = of_scenario(climb.experiment, climb.scenario)
    path = scores_file(experiment.output, checkpoint_of(experiment))
    if not path.is_file():
        with wrapped(experiment, cases) as segmentor:
            _write(path, pipeline_of(experiment, segmentor, cases), cases)
    return read_scores(path)


def scores(climb: Climb, cases: Cohort) -> pd.DataFrame:
    """Return one seed's scores, answering as validation chose; once for the same weights."""
    path = scores_file(climb.experiment.output, answering_weights(climb), views_of(climb))
    if not path.is_file():
        with answering(climb, cases) as pipeline:
            _write(path, pipeline, cases)
    return read_scores(path)


def scores_file(output: Path, weights: Path, views: Sequence[str] = AS_IS) -> Path:
    """Name the scores of weights by their content and views: others are never taken for them."""
    named = sha256(" ".join(views).encode()).hexdigest()[:8]
    voted = f"-by-{named}" if len(views) > 1 else ""
    return output / "scores" / f"{digest(weights)}{voted}.csv"


def _write(path: Path, predict: Predict, cases: Cohort) -> None:
    write_text(path, score(predict, cases, metrics=("dice",)).to_csv(index=False))


def _compared(
    experiment: Experiment, host: pd.DataFrame, runs: Sequence[pd.DataFrame], cases: Cohort
) -> dict[str, Any]:
    """Compare by the scores alone."""
    found = compare_scores(
        host,
        runs,
        cases.table,
        experiment.groups,
        others=experiment.other_groups,
        settings=SETTINGS,
        caveats=caveats(experiment),
    )
    return _short(found.to_dict())


def _short(told: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what a table or a picture shows: values, intervals and counts, group by group."""
    blocks = {name: _block(told[name]) for name in ("host", "perturbed", "change")}
    verdict = {key: told["verdict"][key] for key in ("difference", "change", "change_reasons")}
    return {"worst_group": told["worst_group"], **blocks, "verdict": verdict}


def _block(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "overall": _figures(told["overall"]),
        "by_group": {key: _figures(one) for key, one in told["by_group"].items()},
        "difference": {key: _figures(one) for key, one in told["difference"].items()},
    }


def _figures(estimate: Mapping[str, Any]) -> dict[str, Any]:
    return {key: estimate[key] for key in ("value", "low", "high", "n_cases", "n_clusters")}
