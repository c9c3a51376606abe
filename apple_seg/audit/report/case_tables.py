"""Tables of cases: counts, empty masks, spread within a group, gains and losses."""

import numpy as np

from apple_seg.audit.cases import UNKNOWN_LABEL, Counts
from apple_seg.audit.comparison import Comparison
from apple_seg.audit.limits import ENOUGH
from apple_seg.audit.report.reading import (
    Result,
    audits_of,
    columns_of,
    host_of,
    labels_of,
    moved,
)
from apple_seg.audit.results import Audit
from apple_seg.audit.tables import Table, counted, form_of, title_of

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def cases_table(result: Result) -> Table:
    """Return how many cases a group has; small ones are marked."""
    host = host_of(result)
    rows: list[tuple[str, ...]] = []
    total = sum(one.cases for one in host.counts.values())
    for label, one in host.counts.items():
        few = label != UNKNOWN_LABEL and one.scored < ENOUGH
        if label == UNKNOWN_LABEL and not one.cases:
            continue
        rows.append(
            (
                f"{label} (few)" if few else label,
                counted(one.cases, total),
                f"{one.clusters:,}",
                *(f"{audit.counts[label].scored:,}" for audit in audits_of(result).values()),
            )
        )
    scored = ["scored"] if isinstance(result, Audit) else ["scored, host", "scored, perturbed"]
    note = "Clusters: patients, or what stands for them; cases of one cluster are kept together."
    if any(row[0].endswith("(few)") for row in rows):
        note += (
            f" Few: fewer than {ENOUGH} scored cases; see “Limits of the numbers” for how far "
            "intervals hold then."
        )
    return Table("Cases", ("", "cases", "clusters", *scored), rows, note)


def empties_table(result: Result) -> Table:
    """Return empty masks by group: misses and false positives apart, with their shares."""
    rows: list[tuple[str, ...]] = []
    parts = {}
    for whose, audit in audits_of(result).items():
        if not isinstance(result, Audit):
            parts[len(rows)] = whose
        for label, one in audit.counts.items():
            if one.masks:
                rows.append((label, *_empties(one)))
    return Table(
        "Empty masks",
        (
            "",
            "masks",
            "true mask empty",
            "predicted mask empty",
            "both empty",
            "missed, of those with a true mask",
            "false positive, of those without",
        ),
        rows,
        "Masks are counted by class. Missed: something is there, and nothing was drawn. False "
        "positive: nothing is there, and something was drawn.",
        parts,
    )


def none_empty(result: Result) -> str:
    """Say that no mask is empty, or that nobody knows; nothing where some are."""
    counts = [one for audit in audits_of(result).values() for one in audit.counts.values()]
    if all(one.unsized == one.masks for one in counts):
        return (
            "Whether a mask is empty is not known here: the scores came without the sizes of the "
            "masks, and stand as they are whatever the policy."
        )
    sizes = result.cases[[name for name in result.cases if str(name).endswith("_size")]]
    if any(one.truth_empty or one.prediction_empty for one in counts) or sizes.isna().any(
        axis=None
    ):
        return ""
    masks = sum(one.masks for one in host_of(result).counts.values())
    return (
        f"Here no mask is empty, of {masks:,} true and as many predicted ones: no policy matters."
    )


def _empties(one: Counts) -> tuple[str, ...]:
    return (
        f"{one.masks:,}",
        counted(one.truth_empty, one.masks),
        counted(one.prediction_empty, one.masks),
        counted(one.both_empty, one.masks),
        counted(one.misses, one.masks - one.truth_empty),
        counted(one.false_positives, one.truth_empty),
    )


def quantiles_table(result: Result) -> Table:
    """Return how scores spread within each group."""
    metric = result.settings.metric
    form, cases, columns = form_of(metric), result.cases, columns_of(result, metric)
    rows = []
    for label in labels_of(result):
        for whose, column in columns.items():
            scores = cases.loc[cases["group"] == label, column].dropna().to_numpy(dtype=float)
            found = np.quantile(scores, _QUANTILES) if len(scores) else [np.nan] * len(_QUANTILES)
            name = label if len(columns) == 1 else f"{label}, {whose}"
            rows.append((name, f"{len(scores):,}", *(form.number(float(one)) for one in found)))
    heads = ("median" if share == 0.5 else f"{100 * share:g} % below" for share in _QUANTILES)
    return Table(f"{title_of(metric)} of single cases", ("", "cases", *heads), rows)


def moved_table(result: Comparison) -> Table:
    """Return how many cases of each group gained or lost more than the margin."""
    metric, margin = result.settings.metric, result.settings.margin
    form, rows = form_of(metric).difference, []
    for label in labels_of(result):
        found = moved(result, label)
        change = result.cases.loc[result.cases["group"] == label, f"change_{metric}"]
        rest = found["all"] - found["gained"] - found["lost"]
        counts = (
            counted(number, found["all"]) for number in (found["gained"], rest, found["lost"])
        )
        most = (form.number(float(one)) for one in (change.max(), change.min()))
        rows.append((label, f"{found['all']:,}", *counts, *most))
    columns = (
        "",
        "cases",
        f"gained more than {margin:g}",
        "between",
        f"lost more than {margin:g}",
        "largest gain",
        "largest loss",
    )
    return Table("Single cases that moved", columns, rows)
