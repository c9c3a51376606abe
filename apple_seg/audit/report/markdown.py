"""A report as Markdown, as GitHub reads it: all words and numbers, no pictures."""

import re
from collections.abc import Iterable, Iterator

from apple_seg.audit.report.document import (
    Answer,
    Block,
    Bullets,
    Document,
    Facts,
    Prose,
    Section,
    Tabled,
    Terms,
)
from apple_seg.audit.tables import Table


def markdown(document: Document) -> str:
    """Write a document as GitHub's Markdown."""
    parts = [f"# {escape(document.title)}", escape(document.lead)]
    for section in document.sections:
        parts += _section(section, 2)
    return "\n\n".join([*parts, escape(document.footer)]) + "\n"


def escape(text: str) -> str:
    """Return words that Markdown takes as they are, in one line.

    Only what would be read as something else is escaped: `age < 60` and `0.9 [0.8, 1.0]` stay
    legible in the source, too.
    """
    text = " ".join(text.split())
    for pattern in _MEANT_OTHERWISE:
        text = pattern.sub(r"\\\g<0>", text)
    return _LIST.sub(r"\1\\\2", text)


_MEANT_OTHERWISE = tuple(
    map(
        re.compile,
        (
            r"[\\`*~|$]",
            r"(?<![^\W_])_|_(?![^\W_])",  # but within words
            r"\[(?=\^|[ xX]\])|\](?=[(\[:])",  # a note, a box to tick, a link
            r"<(?=[A-Za-z/!?])",
            r"&(?=#?\w+;)",
            r"^(?:>|#(?=#{0,5}(?: |$))|[-+](?= |$)|[-=](?=[-= ]*$))",
        ),
    )
)
_LIST = re.compile(r"^(\d{1,9})([.)](?: |$))")


def _section(section: Section, level: int) -> Iterator[str]:
    inside = [text for block in section.blocks for text in _block(block, level)]
    for part in section.parts:
        inside += _section(part, level + 1)
    if inside:
        yield f"{'#' * level} {escape(section.title)}"
        yield from inside


def _block(block: Block, level: int) -> Iterator[str]:
    """Yield a block's paragraphs; drawings and pictures have none, their tables do."""
    match block:
        case Answer():
            yield f"{'#' * (level + 1)} {escape(block.question)}"
            yield f"**{escape(block.heading)}**: {escape(block.said)}"
            yield f"“{escape(block.answer.capitalize())}” means: {escape(block.definition)}"
        case Facts():
            yield "\n".join(
                f"- {escape(label)}: **{escape(value)}** ({escape(detail)})"
                for label, value, detail in block.facts
            )
        case Prose():
            yield escape(block.text)
        case Bullets():
            yield _bullets(block.lines)
        case Terms():
            yield "\n".join(f"- **{escape(term)}**: {escape(said)}" for term, said in block.terms)
        case Tabled():
            yield from _table(block.table)


def _bullets(lines: tuple[str, ...]) -> str:
    return "\n".join(f"- {escape(line)}" for line in lines)


def _table(table: Table) -> Iterator[str]:
    width = len(table.columns)
    align = [":---", *(":---" if at in table.prose else "---:" for at in range(1, width))]
    lines = [_line(map(escape, table.columns)), _line(align)]
    for place, row in enumerate(table.rows):
        if place in table.parts:
            lines.append(_line([f"**{escape(table.parts[place])}**", *[""] * (width - 1)]))
        lines.append(_line(map(escape, row)))
    yield f"**{escape(table.title)}**"
    yield "\n".join(lines)
    if table.note:
        yield escape(table.note)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
