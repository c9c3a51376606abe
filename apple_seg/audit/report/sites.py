"""Where the attribute can be read, and where the masks listen: site by site."""

from collections.abc import Iterable

from apple_seg.audit.report.bars import Bar, Reference, bars
from apple_seg.audit.report.canvas import LOOKS
from apple_seg.audit.report.document import Block, Bullets, Plot, Plots, Prose, Section, Terms, tabled
from apple_seg.audit.site_tables import site_tables
from apple_seg.audit.sites import SiteSurvey
from apple_seg.audit.tables import Form
from apple_seg.measure.probes import Leakage

_FORM = Form(digits=2)

_LOOKS = tuple(
    look
    for whose in ("host", "perturbed")
    for look in (LOOKS[whose], LOOKS[whose]._replace(hatch="////"))
)
"""Linear and MLP probe of the host's latents, then of the perturbed ones."""
