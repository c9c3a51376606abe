"""One HTML file that says what was found: verdict first, no network, prints well."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from importlib import metadata
from importlib.resources import files
from itertools import groupby
from typing import Any, NamedTuple

from apple_seg.audit.gallery import LINES
from apple_seg.audit.plots import before_after, distributions
from apple_seg.audit.results import Audit, Comparison, Picture
from apple_seg.audit.tables import Table, audit_tables, comparison_tables, title_of
from apple_seg.audit.verdicts import DEFINITIONS, Judgement
from apple_seg.files import plain


class Plot(NamedTuple):
    """A picture inside the page."""

    title: str
    caption: str
    source: str
    """A data URI."""


def audit_html(audit: Audit) -> str:
    """Write the report of an audit of one host."""
    first, *tables = audit_tables(audit)
    return _page(
        audit,
        title=f"Audit of {title_of(audit.settings.metric)} by {audit.attribute}",
        verdicts={"difference": audit.difference_verdict},
        first=first,
        tables=tables,
        plots=[_distribution_plot(audit)],
    )


def comparison_html(comparison: Comparison) -> str:
    """Write the report of a comparison."""
    first, *tables = comparison_tables(comparison)
    metric = title_of(comparison.settings.metric)
    scatter = Plot(
        "Before and after, case by case",
        f"{metric} of each case; above the line the perturbed host is better.",
        _data_uri(before_after(comparison)),
    )
    return _page(
        comparison,
        title=f"Host and perturbed host: {metric} by {comparison.host.attribute}",
        verdicts={
            "change": comparison.change_verdict,
            "difference": comparison.difference_verdict,
        },
        first=first,
        tables=tables,
        plots=[_distribution_plot(comparison), scatter],
    )


def _page(
    result: Audit | Comparison,
    *,
    title: str,
    verdicts: dict[str, Judgement],
    first: Table,
    tables: Sequence[Table],
    plots: Sequence[Plot],
) -> str:
    from jinja2 import Environment, StrictUndefined

    source = files("apple_seg.audit").joinpath("report.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(
        source
    )
    questions = ["change", "difference"] if isinstance(result, Comparison) else ["difference"]
    return page.render(
        title=title,
        verdicts=verdicts,
        first=first,
        tables=tables,
        plots=plots,
        galleries=list(_galleries(result.pictures)),
        lines=[
            (name, line)
            for name, line in LINES.items()
            if name != "perturbed" or isinstance(result, Comparison)
        ],
        caveats=result.caveats,
        notes=result.notes,
        definitions=[
            (name, str(answer), sentence)
            for name in questions
            for answer, sentence in DEFINITIONS[name].items()
        ],
        settings=plain(result.settings),
        version=metadata.version("apple-seg"),
    )


def _galleries(pictures: Iterable[Picture]) -> Iterable[tuple[str, str, list[Any]]]:
    for (group, kind), some in groupby(pictures, key=lambda one: (one.group, one.kind)):
        yield group, kind, [(one.case, one.caption, _data_uri(one.png)) for one in some]


def _distribution_plot(result: Audit | Comparison) -> Plot:
    return Plot(
        f"{title_of(result.settings.metric)} by group",
        "Dots are cases, boxes hold the middle half, lines are medians, diamonds are means.",
        _data_uri(distributions(result)),
    )


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode()}"
