"""What is trained: perturbers, objectives, methods and the trainer."""

from typing import TYPE_CHECKING

from apple_seg._lazy import lazy_exports
from apple_seg.perturb.methods import METHODS, MethodSpec
from apple_seg.perturb.objectives import (
    Adversary,
    Discriminator,
    Objective,
    Outcome,
    SegmentationLoss,
    pool,
)
from apple_seg.perturb.perturbers import (
    PERTURBERS,
    LeanPerturber,
    ResidualPerturber,
    build_perturber,
    describe_perturber,
)
from apple_seg.perturb.selection import RULES, Candidate

if TYPE_CHECKING:
    from apple_seg.perturb.record import FitResult, FitSettings
    from apple_seg.perturb.trainer import fit

__all__ = [
    "METHODS",
    "PERTURBERS",
    "RULES",
    "Adversary",
    "Candidate",
    "Discriminator",
    "FitResult",
    "FitSettings",
    "LeanPerturber",
    "MethodSpec",
    "Objective",
    "Outcome",
    "ResidualPerturber",
    "SegmentationLoss",
    "build_perturber",
    "describe_perturber",
    "fit",
    "pool",
]

# The trainer reads cases; what was trained runs without it.
__getattr__ = lazy_exports(
    __name__,
    {
        "FitResult": "apple_seg.perturb.record",
        "FitSettings": "apple_seg.perturb.record",
        "fit": "apple_seg.perturb.trainer",
    },
)
