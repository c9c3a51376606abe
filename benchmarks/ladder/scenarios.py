"""Who trained the host, and who it is fitted on afterwards: the two questions of the ladder.

A team's cases are not those that its checkpoint was trained on. So the lesions of the train split
are parted once: one half trained the hosts, perturbers are fitted on cases of the other, and so
is whatever stands beside them.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from apple_seg.config import Experiment
from apple_seg.data import Cohort

AS_DEPLOYED = "as-deployed"
UNDER_REPRESENTED = "under-represented"
SCENARIOS: Mapping[str, str] = {
    AS_DEPLOYED: "the host was trained on patients of every age",
    UNDER_REPRESENTED: "the host was trained on patients known to be younger than 60 only",
}
OLDEST = 60


def host_cases(train: Cohort, scenario: str) -> Cohort:
    """Return the cases that trained the host of a scenario."""
    return seen(_half(train, first=True), scenario)


def seen(cases: Cohort, scenario: str) -> Cohort:
    """Return those of some cases that who trained the host of a scenario could have had."""
    if scenario == AS_DEPLOYED:
        return cases
    ages = pd.to_numeric(cases.table["age"], errors="coerce")
    return cases.take(cases.table.index[ages < OLDEST].to_numpy())


def team_cases(train: Cohort, number: int | None, seed: int) -> Cohort:
    """Return cases that no host has seen: all, or `number` of them, drawn with `seed`.

    A smaller draw is part of a larger one with the same seed.
    """
    cases = _half(train, first=False)
    order = np.random.default_rng(seed).permutation(cases.table.index.to_numpy())
    return cases if number is None else cases.take(np.sort(order[:number]))


def of_scenario(experiment: Experiment, scenario: str) -> Experiment:
    """Return the experiment with the checkpoint of a scenario's host."""
    path = experiment.host.checkpoint
    if path is None:
        raise ValueError("[host] checkpoint says where the hosts are, and is missing")
    named = Path(path).with_name(f"{Path(path).stem}-{scenario}.pt")
    return replace(experiment, host=replace(experiment.host, checkpoint=named))


def _half(train: Cohort, *, first: bool) -> Cohort:
    """Return the cases of one half of the clusters; the halves are the same everywhere."""
    clusters = np.unique(train.table["cluster"].to_numpy(str))
    chosen = np.random.default_rng(0).permutation(clusters)[: len(clusters) // 2]
    inside = train.table["cluster"].isin(chosen)
    return train.take(train.table.index[inside if first else ~inside].to_numpy())
