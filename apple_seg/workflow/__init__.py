"""What the commands do, as functions of one experiment."""

from apple_seg.workflow.auditing import audit_experiment, compare_experiment
from apple_seg.workflow.fitting import fit_experiment
from apple_seg.workflow.running import (
    Written,
    attach_experiment,
    caveats,
    perturber_of,
    pipeline_of,
    wrapped,
)
from apple_seg.workflow.skin_tones import estimate_skin_tone
from apple_seg.workflow.surveying import survey_experiment

__all__ = [
    "Written",
    "attach_experiment",
    "audit_experiment",
    "caveats",
    "compare_experiment",
    "estimate_skin_tone",
    "fit_experiment",
    "perturber_of",
    "pipeline_of",
    "survey_experiment",
    "wrapped",
]
