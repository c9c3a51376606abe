"""The order of a report: what decides first, what it rests on after it."""

from importlib import metadata

from apple_seg.audit.report.attributes import attributes, by_group
from apple_seg.audit.report.card import UNKNOWN_CARD, ModelCard, card
from apple_seg.audit.report.cases import galleries, single_cases
from apple_seg.audit.report.confounding import confounding, curves
from apple_seg.audit.report.document import Document
from apple_seg.audit.report.method import conventions, empties, measures, method
from apple_seg.audit.report.opening import lead, mind, opening, title
from apple_seg.audit.report.reading import Result
from apple_seg.audit.report.sites import sites
from apple_seg.audit.sites.findings import SiteSurvey


def compose(
    result: Result, *, survey: SiteSurvey | None = None, written: ModelCard = UNKNOWN_CARD
) -> Document:
    """Return the report of an audit or of a comparison.

    Args:
        result: What was found.
        survey: What each site gives away and matters; of the same host and attribute.
        written: What an audit cannot know.
    """
    sections = (
        opening(result),
        mind(result),
        by_group(result),
        attributes(result),
        single_cases(result),
        curves(result),
        confounding(result),
        sites(survey) if survey is not None else None,
        galleries(result),
        empties(result),
        measures(result),
        conventions(result),
        method(result),
        card(result, written),
    )
    return Document(
        title=title(result),
        lead=lead(result),
        sections=tuple(section for section in sections if section is not None),
        footer=f"Made by apple-seg {metadata.version('apple-seg')}.",
    )
