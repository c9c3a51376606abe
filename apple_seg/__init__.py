"""Measure and lower a deployed segmentor's Dice gaps between groups, its weights untouched.

Wrap a host, fit its perturbers on your own cases, audit before and after on the same cases, save
one small file, attach it in production. Inference needs no attribute of any patient.
"""

from typing import TYPE_CHECKING

from apple_seg._lazy import lazy_exports

if TYPE_CHECKING:
    from apple_seg.audit import Audit, AuditSettings, Comparison, compare
    from apple_seg.config import Experiment, read_experiment
    from apple_seg.data import Case, Cohort, Groups, Manifest, check
    from apple_seg.host import (
        HostSpec,
        InputSpec,
        OutputSpec,
        PerturbedSegmentor,
        Picture,
        Pipeline,
        PromptSpec,
        Site,
        fingerprint,
        prepare,
        wrap,
    )
    from apple_seg.perturb import FitResult, FitSettings, MethodSpec, fit
    from apple_seg.replay import ReplaySettings
    from apple_seg.ship import Artifact, attach, read_artifact, save

__all__ = [
    "Artifact",
    "Audit",
    "AuditSettings",
    "Case",
    "Cohort",
    "Comparison",
    "Experiment",
    "FitResult",
    "FitSettings",
    "Groups",
    "HostSpec",
    "InputSpec",
    "Manifest",
    "MethodSpec",
    "OutputSpec",
    "PerturbedSegmentor",
    "Picture",
    "Pipeline",
    "PromptSpec",
    "ReplaySettings",
    "Site",
    "attach",
    "check",
    "compare",
    "fingerprint",
    "fit",
    "prepare",
    "read_artifact",
    "read_experiment",
    "save",
    "wrap",
]

_ROOMS = {
    "audit": ("Audit", "AuditSettings", "Comparison", "compare"),
    "config": ("Experiment", "read_experiment"),
    "data": ("Case", "Cohort", "Groups", "Manifest", "check"),
    "host": (
        *("HostSpec", "InputSpec", "OutputSpec", "PerturbedSegmentor", "Picture", "Pipeline"),
        *("PromptSpec", "Site", "fingerprint", "prepare", "wrap"),
    ),
    "perturb": ("FitResult", "FitSettings", "MethodSpec", "fit"),
    "replay": ("ReplaySettings",),
    "ship": ("Artifact", "attach", "read_artifact", "save"),
}

__getattr__ = lazy_exports(
    __name__, {name: f"apple_seg.{room}" for room, names in _ROOMS.items() for name in names}
)
