"""Audits and comparisons to the text of files."""

from apple_seg.audit.report.card import UNKNOWN_CARD, ModelCard
from apple_seg.audit.report.compose import compose
from apple_seg.audit.report.markdown import markdown
from apple_seg.audit.report.page import page
from apple_seg.audit.report.reading import Result
from apple_seg.audit.sites.findings import SiteSurvey


def audit_html(
    result: Result, *, sites: SiteSurvey | None = None, card: ModelCard = UNKNOWN_CARD
) -> str:
    """Write a report of one HTML file that needs no network.

    Args:
        result: An audit, or a comparison.
        sites: What each site of the host gives away and matters.
        card: What only the user knows of segmentor and perturber.
    """
    return page(compose(result, survey=sites, written=card))


def audit_markdown(
    result: Result, *, sites: SiteSurvey | None = None, card: ModelCard = UNKNOWN_CARD
) -> str:
    """Write the same words and numbers as GitHub's Markdown; see `audit_html`."""
    return markdown(compose(result, survey=sites, written=card))
