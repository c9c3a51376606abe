"""Audits in a terminal: the answers, then the table that they rest on."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from apple_seg.audit.comparison import Comparison
from apple_seg.audit.printed import shown
from apple_seg.audit.report.answers import change_answer, difference_answer
from apple_seg.audit.report.document import Answer
from apple_seg.audit.report.group_tables import main_table, verdicts_said
from apple_seg.audit.report.reading import host_of, others_of
from apple_seg.audit.results import Audit

_COLOURS = {"good": "green", "bad": "red", "mixed": "yellow", "none": "cyan", "unknown": "magenta"}


def audit_text(audit: Audit) -> RenderableType:
    """Lay out an audit of one host."""
    return Group(_panel("difference", difference_answer(audit)), *_rest(audit))


def comparison_text(comparison: Comparison) -> RenderableType:
    """Lay out a comparison."""
    return Group(
        _panel("change", change_answer(comparison)),
        _panel("difference of the host", difference_answer(comparison.host)),
        *_rest(comparison),
    )


def _rest(result: Audit | Comparison) -> Iterable[RenderableType]:
    yield shown(main_table(result))
    for one in others_of(result):
        yield Text(f"by {host_of(one).attribute}: {verdicts_said(one)}")
    lines = (*result.caveats, *result.notes)
    yield Text("\n".join(f"- {line}" for line in lines), style="dim")


def _panel(what: str, answer: Answer) -> Panel:
    colour = _COLOURS[answer.tone]
    text = Text.assemble(
        (f"{what}: ", "bold"),
        (answer.answer, f"bold {colour}"),
        f"\n{answer.said}",
        *(f"\n- {reason}" for reason in answer.reasons),
    )
    return Panel(text, border_style=colour)
