"""What means hide: how single cases spread, what became of each, and pictures of some."""

from functools import partial
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from apple_seg.audit.comparison import Comparison
from apple_seg.audit.gallery import LINES
from apple_seg.audit.report.case_tables import moved_table, quantiles_table
from apple_seg.audit.report.clouds import before_after, distributions
from apple_seg.audit.report.document import (
    Block,
    Gallery,
    Legend,
    Plot,
    Plots,
    Prose,
    Section,
    tabled,
)
from apple_seg.audit.report.reading import Result, columns_of, labels_of, moved
from apple_seg.audit.tables import form_of, title_of


def single_cases(result: Result) -> Section:
    """Return how scores spread within groups, and before against after."""
    blocks: list[Block] = [_distributions(result), *tabled([quantiles_table(result)])]
    if isinstance(result, Comparison):
        blocks += [_before_after(result), *tabled([moved_table(result)])]
    return Section(name="cases", title="What means hide: single cases", blocks=tuple(blocks))


def galleries(result: Result) -> Section | None:
    """Return pictures of the worst and the most changed cases; None where none were drawn."""
    if not result.pictures:
        return None
    names = tuple(name for name in LINES if name != "perturbed" or isinstance(result, Comparison))
    parts = [
        Section(
            name=f"pictures-{place}",
            title=f"{group}: {kind}",
            blocks=(Gallery(tuple(pictures)),),
        )
        for place, ((group, kind), pictures) in enumerate(
            groupby(result.pictures, key=lambda one: (one.group, one.kind))
        )
    ]
    said = Prose(
        "Chosen by their scores and by nothing else: the lowest under the host"
        + (", and those that gained and lost most." if isinstance(result, Comparison) else ".")
        + " They are extremes, and say nothing of how common they are."
    )
    return Section(
        name="pictures",
        title="Cases with their contours",
        blocks=(said, Legend(names)),
        parts=tuple(parts),
    )


def _distributions(result: Result) -> Plots:
    metric, form = title_of(result.settings.metric), form_of(result.settings.metric)
    scores = {
        label: {whose: _scores(result, label, column) for whose, column in _columns(result)}
        for label in labels_of(result)
    }
    alt = "; ".join(
        f"{label}, {whose}: median {form.number(float(np.median(some)))} of {len(some):,} cases"
        for label, named in scores.items()
        for whose, some in named.items()
        if len(some)
    )
    drawn = partial(
        distributions, scores, name="distributions", xlabel=f"{metric} (more is better)"
    )
    caption = (
        "Each dot is a case (1,500 a group at most). A box holds the middle half of a group's "
        "cases, the thick line in it is the median, the diamond the mean."
    )
    return Plots(f"{metric} of single cases by group", (Plot("", drawn, alt),), caption)


def _before_after(result: Comparison) -> Plots:
    metric, plots = result.settings.metric, []
    for place, label in enumerate(labels_of(result)):
        cases = result.cases[result.cases["group"] == label]
        both = cases[[f"host_{metric}", f"perturbed_{metric}"]].dropna().to_numpy(dtype=float)
        drawn = partial(
            before_after,
            both[:, 0],
            both[:, 1],
            margin=result.settings.margin,
            name=f"before-after-{place}",
            title=label,
        )
        counts = moved(result, label)
        alt = (
            f"{label}: {counts['gained']:,} of {counts['all']:,} cases gained more than "
            f"{result.settings.margin:g}, {counts['lost']:,} lost more"
        )
        plots.append(Plot("", drawn, alt))
    caption = (
        f"Each mark is a case: blue squares gained more than {result.settings.margin:g}, "
        "orange circles lost more, small grey dots did neither. On the line nothing changed."
    )
    return Plots(f"{title_of(metric)} before and after, case by case", tuple(plots), caption)


def _columns(result: Result) -> list[tuple[str, str]]:
    return list(columns_of(result, result.settings.metric).items())


def _scores(result: Result, label: str, column: str) -> NDArray[np.float64]:
    cases = result.cases
    return cases.loc[cases["group"] == label, column].dropna().to_numpy(dtype=float)
