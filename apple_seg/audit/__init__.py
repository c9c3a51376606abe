"""What can be said of groups of cases: audits of one host, comparisons of two."""

from apple_seg.audit.auditing import audit, audit_scores, compare, compare_scores
from apple_seg.audit.comparison import Comparison
from apple_seg.audit.conventions import CONVENTIONS, Convention, convention, conventions
from apple_seg.audit.gate import Finding, GateCode, GateResult, gate
from apple_seg.audit.inference.figures import Disaggregated
from apple_seg.audit.inference.intervals import Estimate
from apple_seg.audit.report_json import read_report
from apple_seg.audit.results import Audit, Picture
from apple_seg.audit.settings import AuditSettings
from apple_seg.audit.sites import SiteSurvey, SurveySettings, survey
from apple_seg.audit.verdicts import DEFINITIONS, Change, Difference, Followed, Judgement

__all__ = [
    "CONVENTIONS",
    "DEFINITIONS",
    "Audit",
    "AuditSettings",
    "Change",
    "Comparison",
    "Convention",
    "Difference",
    "Disaggregated",
    "Estimate",
    "Finding",
    "Followed",
    "GateCode",
    "GateResult",
    "Judgement",
    "Picture",
    "SiteSurvey",
    "SurveySettings",
    "audit",
    "audit_scores",
    "compare",
    "compare_scores",
    "convention",
    "conventions",
    "gate",
    "read_report",
    "survey",
]
