"""Scores to one comparison: a host and its perturbed self, by one attribute."""

from collections.abc import Sequence
from itertools import combinations

import pandas as pd

from apple_seg.audit.auditor import audit_runs
from apple_seg.audit.comparison import Comparison
from apple_seg.audit.context import Context, of_class
from apple_seg.audit.inference.figures import Disaggregated, estimate_difference
from apple_seg.audit.inference.intervals import Estimate, with_runs
from apple_seg.audit.pairs import Paired, mean_cases, pair, paired_cases, unpaired
from apple_seg.audit.results import Audit
from apple_seg.audit.verdicts import Followed, judge_change
from apple_seg.errors import CaseError
from apple_seg.measure import POLICIES, apply_policy


def compare_runs(context: Context, host: pd.DataFrame, runs: Sequence[pd.DataFrame]) -> Comparison:
    """Compare aligned scores, each case with its mean over the training runs.

    Raises:
        CaseError: There is no run.
    """
    if not runs:
        raise CaseError("there is nothing to compare the host with: no table of scores")
    settings = context.settings
    main, metrics = settings.metric, context.metrics([host, *runs])
    before, after = audit_runs(context, [host]), audit_runs(context, runs)
    pairs = {policy: _pairs(host, runs, policy, metrics) for policy in POLICIES}
    shown = pairs[settings.policy]
    each = [paired_cases(one, before.cases["group"], metrics) for one in shown]
    changed = context.with_columns(mean_cases(each))
    changes = {
        name: context.estimate(f"change_{name}", changed, each)
        for name in (*metrics, "predicted_size")
    }
    followed = _follow(context, before, changed, each)
    return Comparison(
        host=before,
        perturbed=after,
        runs=len(runs),
        changes=changes,
        change_by_class={
            name: _change(
                context,
                [Paired(*(of_class(half, name) for half in one)) for one in shown],
                changed,
            )
            for name in before.by_class
        },
        change_policies={name: _change(context, some, changed) for name, some in pairs.items()},
        change_curves=context.curves(changed[f"change_{main}"].to_numpy(dtype=float), changed),
        followed=followed,
        change_verdict=judge_change(
            changes[main], followed, margin=settings.margin, attributes=context.attributes
        ),
        notes=(
            *before.notes,
            *unpaired(host, runs, settings),
            *_runs_note(len(runs)),
            *_same_note(runs, main),
        ),
        caveats=context.caveats,
        cases=changed,
    )


def _pairs(
    host: pd.DataFrame, runs: Sequence[pd.DataFrame], policy: str, metrics: Sequence[str]
) -> list[Paired]:
    left = apply_policy(host, policy)
    return [pair(left, apply_policy(run, policy), metrics) for run in runs]


def _change(context: Context, pairs: Sequence[Paired], cases: pd.DataFrame) -> Disaggregated:
    """Estimate the change of the verdict's metric in other pairs of the same cases."""
    main = context.settings.metric
    each = []
    for one in pairs:
        table = paired_cases(one, pd.Series(dtype=object), [main]).set_index("case")
        each.append(table[[f"change_{main}"]].reindex(cases["case"]).reset_index())
    mean = mean_cases(each).assign(cluster=cases["cluster"].to_numpy())
    return context.estimate(f"change_{main}", mean, each)


def _follow(
    context: Context, before: Audit, changed: pd.DataFrame, each: Sequence[pd.DataFrame]
) -> Followed | None:
    """Name the difference to follow by the host's means, and estimate what became of it."""
    main, reference = context.settings.metric, context.groups.reference
    scored = [label for label, found in before.by_group.items() if found.n_cases]
    worse, best = before.main.worst_group, before.main.best_group
    if worse is None or best is None or len(scored) < 2:
        return None
    if worse == best:  # all alike: none is the worst, and any will do
        worse = next(label for label in scored if label != reference)
    better = best if worse == reference else reference

    def found(which: str) -> Estimate:
        column, design = f"{which}_{main}", context.design(changed, bootstrap=True)
        quick = design._replace(resamples=0)
        mean, *runs = (
            estimate_difference(
                table[column].to_numpy(dtype=float), one, better=better, worse=worse
            )
            for table, one in ((changed, design), *((run, quick) for run in each))
        )
        return with_runs(mean, [run.value for run in runs]) if len(runs) > 1 else mean

    return Followed(
        better=better,
        worse=worse,
        host=found("host"),
        perturbed=found("perturbed"),
        change=found("change"),
    )


def _same_note(runs: Sequence[pd.DataFrame], main: str) -> tuple[str, ...]:
    """Say where two training runs are one, by the look of it."""
    same = [
        f"{first + 1} and {second + 1}"
        for first, second in combinations(range(len(runs)), 2)
        if runs[first][main].equals(runs[second][main])
    ]
    if not same:
        return ()
    return (
        f"Training runs {', '.join(same)} hold the same scores, case by case: if that is one run "
        "given twice, the intervals are too narrow.",
    )


def _runs_note(runs: int) -> tuple[str, ...]:
    if runs < 2:
        return ()
    return (
        f"The perturbed host is the mean of {runs} training runs of other seeds: scores are each "
        "case's mean over them, intervals allow for what another training would change, and a "
        "mask counts as empty where it is so in all of them.",
    )
