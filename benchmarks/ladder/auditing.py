"""One look at the test split: every rung that was fitted, beside its host and its control."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from apple_seg.audit import AuditSettings, compare_scores
from apple_seg.config import Experiment
from apple_seg.data import Cohort
from apple_seg.files import write_text
from apple_seg.host import Pipeline
from apple_seg.measure import Predict, score
from apple_seg.ship import attach
from apple_seg.workflow import caveats, pipeline_of, wrapped
from benchmarks.ladder.fitting import Climb
from benchmarks.ladder.scenarios import of_scenario
from benchmarks.run import read_scores

CONTROL = "segmentation-only"
SETTINGS = AuditSettings(metrics=("dice",), gallery=0, resamples=0, permutations=0)


def audit_rung(climbs: Sequence[Climb], controls: Sequence[Climb], cases: Cohort) -> dict[str, Any]:
    """Compare the host with one rung's seeds, and the rung with the control of the same seeds."""
    host = host_scores(climbs[0], cases)
    runs = [scores(climb, cases) for climb in climbs]
    against = [scores(climb, cases) for climb in controls]
    experiment = climbs[0].experiment
    return {
        "against_host": _compared(experiment, host, runs, cases),
        "by_seed": [_compared(experiment, host, [run], cases) for run in runs],
        "against_control": _compared(experiment, *beside(against, runs), cases),
    }


def beside(
    controls: Sequence[pd.DataFrame], runs: Sequence[pd.DataFrame]
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Return the controls' mean scores, and runs that differ from it as each does from its own.

    A run and the control of its seed were fitted on the same cases, from the same start: what
    varies between seeds is the difference of the two.
    """
    mean = controls[0].copy()
    mean["dice"] = np.mean([one["dice"].to_numpy() for one in controls], axis=0)
    moved = []
    for run, control in zip(runs, controls, strict=True):
        table = mean.copy()
        table["dice"] += run["dice"].to_numpy() - control["dice"].to_numpy()
        moved.append(table)
    return mean, moved


def host_scores(climb: Climb, cases: Cohort) -> pd.DataFrame:
    """Return the scores of the host as deployed, once for all rungs."""
    experiment = of_scenario(climb.experiment, climb.scenario)
    path = experiment.output / f"scores-{climb.scenario}.csv"
    return _scored(path, experiment, None, cases)


def scores(climb: Climb, cases: Cohort) -> pd.DataFrame:
    """Return one seed's scores: perturbers attached as production would, or the trained host."""
    experiment = of_scenario(climb.experiment, climb.scenario)
    path = climb.stem.with_suffix(".csv")
    if climb.rung.whole_host:
        return _scored(path, experiment, climb.weights, cases)
    if not path.is_file():
        host = experiment.host.build(experiment.device)
        segmentor = attach(host, climb.weights, spec=experiment.host)
        _write(path, Pipeline(segmentor, experiment.host, list(cases.classes)), cases)
    return read_scores(path)


def _scored(
    path: Path, experiment: Experiment, weights: Path | None, cases: Cohort
) -> pd.DataFrame:
    """Return the scores of a host, with other weights than its checkpoint's where given."""
    if not path.is_file():
        with wrapped(experiment, cases) as segmentor:
            if weights is not None:
                segmentor.host.load_state_dict(torch.load(weights, weights_only=True))
            _write(path, pipeline_of(experiment, segmentor, cases).deployed, cases)
    return read_scores(path)


def _write(path: Path, predict: Predict, cases: Cohort) -> None:
    write_text(path, score(predict, cases, metrics=("dice",)).to_csv(index=False))


def _compared(
    experiment: Experiment, host: pd.DataFrame, runs: Sequence[pd.DataFrame], cases: Cohort
) -> dict[str, Any]:
    """Return what a table or a picture needs of a comparison: figures with their intervals."""
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
    """Leave out policies, further metrics and counts, which are alike for all rungs."""
    wanted = ("overall", "by_group", "difference", "group_min", "worst_group")
    blocks = {
        name: {key: told[name][key] for key in wanted} for name in ("host", "perturbed", "change")
    }
    return {"attribute": told["attribute"], **blocks, "verdict": told["verdict"]}
