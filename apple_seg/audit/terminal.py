"""Audits in a terminal: the answers, then the table that they rest on."""

from collections.abc import Iterable

from rich import box
from rich.console import Group, JustifyMethod, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from apple_seg.audit.results import Audit, Comparison
from apple_seg.audit.tables import Table, audit_tables, comparison_tables
from apple_seg.audit.verdicts import Change, Difference, Judgement

_COLOURS = {
    Difference.PRESENT: "yellow",
    Difference.NOT_SHOWN: "cyan",
    Difference.NOT_ENOUGH: "magenta",
    Change.HARMED: "red",
    Change.LEVELLED_DOWN: "red",
    Change.NOT_ENOUGH: "magenta",
    Change.IMPROVED: "green",
    Change.NOT_DETECTED: "cyan",
}


def audit_text(audit: Audit) -> RenderableType:
    """Lay out an audit of one host."""
    return Group(
        _verdict("difference", audit.difference_verdict),
        *map(_table, audit_tables(audit)[:2]),
        _limits((*audit.caveats, *audit.notes)),
    )


def comparison_text(comparison: Comparison) -> RenderableType:
    """Lay out a comparison."""
    return Group(
        _verdict("change", comparison.change_verdict),
        _verdict("difference of the host", comparison.difference_verdict),
        _table(comparison_tables(comparison)[0]),
        _limits((*comparison.caveats, *comparison.notes)),
    )


def _verdict(what: str, judgement: Judgement) -> Panel:
    colour = _COLOURS[judgement.answer]
    text = Text.assemble(
        (f"{what}: ", "bold"),
        (str(judgement.answer), f"bold {colour}"),
        f"\n{judgement.definition}",
        *(f"\n- {reason}" for reason in judgement.reasons),
    )
    return Panel(text, border_style=colour)


def _table(table: Table) -> RichTable:
    shown = RichTable(
        title=escape(table.title),
        title_justify="left",
        title_style="bold",
        caption=escape(table.note) or None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for place, column in enumerate(table.columns):
        justify: JustifyMethod = "right" if place else "left"
        shown.add_column(escape(column), justify=justify, overflow="fold")
    for row in table.rows:
        shown.add_row(*map(escape, row))
    return shown


def _limits(lines: Iterable[str]) -> Text:
    return Text("\n".join(f"- {line}" for line in lines), style="dim")
