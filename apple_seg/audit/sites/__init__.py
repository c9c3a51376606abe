"""Where a host can be perturbed: what its latents give away, and what the masks listen to."""

from apple_seg.audit.sites.findings import SiteFinding, SiteSurvey
from apple_seg.audit.sites.settings import SurveySettings
from apple_seg.audit.sites.survey import survey

__all__ = ["SiteFinding", "SiteSurvey", "SurveySettings", "survey"]
