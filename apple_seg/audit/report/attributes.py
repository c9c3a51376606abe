"""Groups by every attribute that was looked at: the main one in full, the others folded."""

from collections.abc import Sequence

from apple_seg.audit.comparison import Comparison
from apple_seg.audit.report.case_tables import cases_table, empties_table, none_empty
from apple_seg.audit.report.confounding import confounding
from apple_seg.audit.report.document import Block, Bullets, Plots, Prose, Section, Terms, tabled
from apple_seg.audit.report.group_tables import (
    attributes_table,
    harm_table,
    main_table,
    spread_table,
    verdicts_said,
)
from apple_seg.audit.report.headline import differences_plot, means_plot
from apple_seg.audit.report.opening import LIMITS, answers
from apple_seg.audit.report.reading import Result, host_of, others_of
from apple_seg.audit.tables import title_of


def by_group(result: Result) -> Section:
    """Return the main attribute's groups in numbers."""
    tables = [main_table(result)]
    if isinstance(result, Comparison):
        tables.append(harm_table(result))
    tables += [cases_table(result), spread_table(result)]
    return Section(name="groups", title=f"By {host_of(result).attribute}", blocks=tabled(tables))


def attributes(result: Result) -> Section:
    """Return all differences with their p-values, and each other attribute folded."""
    others = len(others_of(result))
    said = (
        f"{others + 1} attributes were looked at, and the more one looks at, the more differ by "
        "chance. The verdicts allow for their number."
        if others
        else "Only one attribute was looked at: others may differ as well."
    )
    return Section(
        name="attributes",
        title="All attributes that were looked at",
        blocks=(Prose(said), *tabled([attributes_table(result)])),
        parts=tuple(
            _other(one, f"other-{place}", result.notes)
            for place, one in enumerate(others_of(result))
        ),
    )


def _other(result: Result, name: str, said_before: Sequence[str]) -> Section:
    host = host_of(result)
    metric = title_of(result.settings.metric)
    plots = (means_plot(result, name), differences_plot(result, name))
    said = ((f"{one.question} {one.heading.capitalize()}.", one.said) for one in answers(result))
    blocks: list[Block] = [
        Terms(tuple(said)),
        Plots(f"{metric} by {host.attribute}", plots, ""),
    ]
    tables = [main_table(result)]
    if isinstance(result, Comparison):
        tables.append(harm_table(result))
    tables.append(cases_table(result))
    if not none_empty(result):
        tables.append(empties_table(result))
    blocks += tabled(tables)
    if notes := tuple(note for note in result.notes if note not in said_before):
        blocks += [Prose(LIMITS), Bullets(notes)]
    if (alike := confounding(result, f"{name}-alike")) is not None:
        blocks += alike.blocks[1:]  # what adjusting means is said once, of the main attribute
    return Section(
        name=name,
        title=f"By {host.attribute}: {verdicts_said(result)}",
        blocks=tuple(blocks),
        folded=True,
    )
