"""Scores of a host and of its perturbed self, case by case: what a change is made of."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from apple_seg.audit.cases import per_case, same_cases
from apple_seg.audit.settings import AuditSettings
from apple_seg.errors import CaseError
from apple_seg.measure import METRICS, apply_policy


class Paired(NamedTuple):
    """Scores of the same cases and classes in the same order."""

    host: pd.DataFrame
    perturbed: pd.DataFrame


def align(host: pd.DataFrame, perturbed: pd.DataFrame) -> pd.DataFrame:
    """Return the perturbed host's scores in the order of the host's.

    Raises:
        CaseError: The tables do not hold the same cases, classes and true masks.
    """
    key = ["case", "class"]
    left, right = host.set_index(key), perturbed.set_index(key)
    for name, table in (("host", left), ("perturbed", right)):
        if table.index.has_duplicates:
            raise CaseError(f"{table.index[table.index.duplicated()][0]}: twice among the {name}'s")
    same_cases(left.index, right.index, "host's scores", "perturbed host's scores")
    right = right.loc[left.index]
    # Who the patients are, one table says for both: another's clusters would make other intervals.
    right = right.assign(cluster=left["cluster"])
    both = left["truth_size"].notna() & right["truth_size"].notna()
    other = both & (left["truth_size"] != right["truth_size"])
    if other.any():
        raise CaseError(f"{left.index[other][0]}: the two tables were scored against other masks")
    return right.reset_index()[perturbed.columns.to_list()]


def mean_scores(runs: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return aligned tables averaged over training runs; a mask is empty where it is in all.

    Scores under a policy, so that what an empty mask is worth is settled in each run.
    """
    if len(runs) == 1:
        return runs[0]
    numbers = [
        name for name in runs[0].select_dtypes("number").columns if all(name in one for one in runs)
    ]
    stacked = pd.concat(one[numbers] for one in runs)
    mean = stacked.groupby(level=0).mean()
    return runs[0].assign(**{name: mean[name] for name in numbers})


def pair(host: pd.DataFrame, perturbed: pd.DataFrame, metrics: Sequence[str]) -> Paired:
    """Make two aligned tables comparable, score by score.

    Where only one of the two left an empty mask empty, its overlap counts as 1 in the pair: a
    perturber that adds (or takes away) false positives has changed that case. Other scores
    that only one has, such as distances, are dropped from both.
    """
    left, right = host.reset_index(drop=True), perturbed.reset_index(drop=True)
    for name in metrics:
        if METRICS[name].overlap:
            for one, other in ((left, right), (right, left)):
                empty = (one["truth_size"] == 0) & (one["predicted_size"] == 0)
                one.loc[empty & one[name].isna() & other[name].notna(), name] = 1.0
        lacking = left[name].isna() | right[name].isna()
        left.loc[lacking, name] = right.loc[lacking, name] = np.nan
    return Paired(left, right)


def paired_cases(pairs: Paired, groups: pd.Series, metrics: Sequence[str]) -> pd.DataFrame:
    """Return a row a case: `host_`, `perturbed_` and `change_` of each metric and of the size."""
    host, perturbed = per_case(pairs.host, metrics), per_case(pairs.perturbed, metrics)
    table = host[["case", "cluster", "truth_size"]].copy()
    table.insert(2, "group", groups)
    for name in (*metrics, "predicted_size"):
        table[f"host_{name}"], table[f"perturbed_{name}"] = host[name], perturbed[name]
        table[f"change_{name}"] = perturbed[name] - host[name]
    return table


def mean_cases(runs: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return paired tables averaged over runs; a score that a run lacks is lacking."""
    if len(runs) == 1:
        return runs[0]
    table = runs[0].copy()
    for name in table.select_dtypes("number").columns:
        table[name] = np.mean([one[name].to_numpy(dtype=float) for one in runs], axis=0)
    return table


def unpaired(
    host: pd.DataFrame, runs: Sequence[pd.DataFrame], settings: AuditSettings
) -> tuple[str, ...]:
    """Say how many masks only one of the two has a score for, and what that hides."""
    main, only_host, only_perturbed = settings.metric, 0, 0
    scored = apply_policy(host, settings.policy)[main].notna().to_numpy()
    for run in runs:
        other = apply_policy(run, settings.policy)[main].notna().to_numpy()
        only_host += int((scored & ~other).sum())
        only_perturbed += int((other & ~scored).sum())
    if not (only_host or only_perturbed):
        return ()
    return (
        f"{only_host} masks have a {main} under the host only and {only_perturbed} under the "
        "perturbed host only (false positives on empty masks that went, or came"
        + (f"; summed over {len(runs)} training runs" if len(runs) > 1 else "")
        + "). In the paired change an empty mask that was rightly left empty counts as 1 there, so "
        "that the figures of host and perturbed host do not differ by the change alone.",
    )
