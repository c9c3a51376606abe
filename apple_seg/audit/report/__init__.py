"""The report of an audit: one HTML file, and Markdown of the same."""

from apple_seg.audit.old_report import audit_html, comparison_html

__all__ = ["audit_html", "comparison_html"]
