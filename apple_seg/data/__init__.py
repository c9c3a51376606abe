"""Cases in: cohorts, manifests, groups, readers, and cohorts of planted truth."""

from apple_seg.data.cohort import Case, Cohort
from apple_seg.data.groups import UNKNOWN, Groups
from apple_seg.data.importers import fairmedfm_manifest
from apple_seg.data.manifest import Manifest, check
from apple_seg.data.views import viewed

__all__ = [
    "UNKNOWN",
    "Case",
    "Cohort",
    "Groups",
    "Manifest",
    "check",
    "fairmedfm_manifest",
    "viewed",
]
