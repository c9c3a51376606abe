"""A report as Markdown, as GitHub reads it: all words and numbers, no pictures."""

import re
from collections.abc import Iterator

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

    `<` stays where nothing could read it as a tag, so that `age < 60` is legible as source, too.
    """
    text = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", " ".join(text.split()))
    text = re.sub(r"<(?=[A-Za-z/!?])", r"\\<", text)
    text = re.sub(r"&(?=#?\w+;)", r"\\&", text)
    text = re.sub(r"^([#>+=-])", r"\\\1", text)
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", text)


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
    lines = [_line(map(_cell, table.columns)), _line(align)]
    for place, row in enumerate(table.rows):
        if place in table.parts:
            lines.append(_line([f"**{_cell(table.parts[place])}**", *[""] * (width - 1)]))
        lines.append(_line(map(_cell, row)))
    yield f"**{escape(table.title)}**"
    yield "\n".join(lines)
    if table.note:
        yield escape(table.note)


def _cell(text: str) -> str:
    return escape(text)


def _line(cells: object) -> str:
    return f"| {' | '.join(cells)} |"  # type: ignore[arg-type]
