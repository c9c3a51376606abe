"""Scores to one audit: everything that is said of one host by one attribute."""

from collections.abc import Sequence

import pandas as pd

from apple_seg.audit.cases import SIZES, count, per_case
from apple_seg.audit.context import Context, of_class
from apple_seg.audit.conventions import conventions
from apple_seg.audit.inference.dispersion import dispersion
from apple_seg.audit.inference.figures import Disaggregated
from apple_seg.audit.inference.intervals import sum_clusters
from apple_seg.audit.inference.permutation import permutation_p
from apple_seg.audit.limits import notes
from apple_seg.audit.pairs import mean_cases, mean_scores
from apple_seg.audit.results import Audit
from apple_seg.audit.verdicts import judge_difference
from apple_seg.measure import POLICIES, apply_policy


def audit_runs(context: Context, runs: Sequence[pd.DataFrame]) -> Audit:
    """Audit the scores of a host, or of several training runs of one.

    Each case counts with its mean over the runs; intervals allow for what the runs differ by.

    Args:
        context: What the cases are.
        runs: Scores of the same cases and classes in the same order.
    """
    settings = context.settings
    main, metrics = settings.metric, context.metrics(runs)
    under = {name: [apply_policy(run, name) for run in runs] for name in POLICIES}
    shown = mean_scores(under[settings.policy])
    each = [per_case(run, metrics) for run in under[settings.policy]]
    cases = mean_cases(each)
    cases.insert(2, "group", context.labels)
    cases = context.with_columns(cases)
    figures = {name: context.estimate(name, cases, each) for name in (*metrics, *SIZES)}
    values = cases[main].to_numpy(dtype=float)
    counts = count(shown, cases, context.codes, labels=context.groups.labels, metric=main)
    classes = shown["class"].unique()
    sums = sum_clusters(
        values,
        groups=context.codes,
        clusters=context.design(cases).clusters,
        n_groups=len(context.groups.labels),
    )
    return Audit(
        settings=settings,
        attribute=context.groups.attribute,
        reference=context.groups.reference,
        figures=figures,
        by_class={
            str(name): _plain(context, [of_class(run, name) for run in under[settings.policy]])
            for name in (classes if len(classes) > 1 else [])
        },
        policies={name: _plain(context, some) for name, some in under.items()},
        p_values={
            label: permutation_p(
                sums,
                first=context.groups.reference_code,
                second=context.groups.labels.index(label),
                permutations=settings.permutations,
                seed=settings.seed,
            )
            for label in figures[main].difference
        },
        dispersion=dispersion(sums),
        adjusted=context.adjusted(values, cases),
        conventions=conventions(
            runs[0], context.codes, labels=context.groups.labels, policy=settings.policy
        )
        if len(runs) == 1 and "dice" in runs[0]
        else {},
        curves=context.curves(values, cases),
        counts=counts,
        difference_verdict=judge_difference(
            figures[main], margin=settings.difference_margin, attributes=context.attributes
        ),
        notes=notes(counts, shown, settings),
        caveats=context.caveats,
        cases=cases,
    )


def _plain(context: Context, runs: Sequence[pd.DataFrame]) -> Disaggregated:
    """Estimate the metric of the verdict in other tables of the same cases."""
    main = context.settings.metric
    order = pd.Index(context.table["case"])
    each = []
    for run in runs:
        table = per_case(run, [main]).set_index("case").reindex(order).reset_index()
        each.append(table)
    mean = mean_cases(each)
    # A case without a row of this class has no cluster here, and no score either.
    mean["cluster"] = mean["cluster"].where(mean["cluster"].notna(), "")
    return context.estimate(main, mean, each)
