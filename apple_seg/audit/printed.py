"""A table as a terminal shows it."""

from rich import box
from rich.console import JustifyMethod
from rich.markup import escape
from rich.table import Table as RichTable

from apple_seg.audit.tables import Table


def shown(table: Table) -> RichTable:
    """Lay out a table of text."""
    laid_out = RichTable(
        title=escape(table.title),
        title_justify="left",
        title_style="bold",
        caption=escape(table.note) or None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for place, column in enumerate(table.columns):
        justify: JustifyMethod = "right" if place and place not in table.prose else "left"
        laid_out.add_column(escape(column), justify=justify, overflow="fold")
    for place, row in enumerate(table.rows):
        if place in table.parts:
            laid_out.add_row(f"[bold]{escape(table.parts[place])}[/]")
        laid_out.add_row(*map(escape, row))
    return laid_out
