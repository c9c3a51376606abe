"""What a report consists of, before it is a page of HTML or Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from apple_seg.audit.results import Picture
from apple_seg.audit.tables import Table


class Fact(NamedTuple):
    """One figure that must not be missed."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A question, its answer in plain words, and what the answer rests on."""

    kind: ClassVar[str] = "answer"
    question: str
    heading: str
    """The answer as it stands by itself, such as `difference present`."""

    answer: str
    """As the result has it, such as `levelled down`."""

    said: str
    definition: str
    reasons: tuple[str, ...]
    tone: str
    """`good`, `bad`, `mixed`, `none` or `unknown`: how a page marks it."""


@dataclass(frozen=True)
class Facts:
    """Figures side by side."""

    kind: ClassVar[str] = "facts"
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    kind: ClassVar[str] = "prose"
    text: str


@dataclass(frozen=True)
class Bullets:
    """Sentences one below the other."""

    kind: ClassVar[str] = "bullets"
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Terms:
    """Words and what they mean."""

    kind: ClassVar[str] = "terms"
    terms: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Tabled:
    """A table."""

    kind: ClassVar[str] = "tabled"
    table: Table


class Plot(NamedTuple):
    """A drawing."""

    title: str
    draw: Callable[[], str]
    """Makes the SVG: what is not shown, as in Markdown, is not drawn."""

    alt: str
    """What it shows, with its numbers."""


@dataclass(frozen=True)
class Plots:
    """Drawings that belong together, and what to look for in them."""

    kind: ClassVar[str] = "plots"
    title: str
    plots: tuple[Plot, ...]
    caption: str


@dataclass(frozen=True)
class Legend:
    """Whose contours pictures hold."""

    kind: ClassVar[str] = "legend"
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Gallery:
    """Pictures of cases."""

    kind: ClassVar[str] = "gallery"
    pictures: tuple[Picture, ...]


Block = Answer | Facts | Prose | Bullets | Terms | Tabled | Plots | Legend | Gallery


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a report; parts of parts are folded."""

    name: str
    """Unique in a document: letters and hyphens."""

    title: str
    blocks: tuple[Block, ...]
    folded: bool = False
    parts: "tuple[Section, ...]" = ()


@dataclass(frozen=True, kw_only=True)
class Document:
    """A whole report."""

    title: str
    lead: str
    sections: tuple[Section, ...]
    footer: str


def tabled(tables: Sequence[Table]) -> tuple[Tabled, ...]:
    """Return tables as blocks, without those that have no rows."""
    return tuple(Tabled(table) for table in tables if table.rows)
