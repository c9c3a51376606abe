"""The report of an audit: one HTML file, and Markdown of the same."""

from apple_seg.audit.report.card import ModelCard
from apple_seg.audit.report.writing import audit_html, audit_markdown

__all__ = ["ModelCard", "audit_html", "audit_markdown"]
