"""What a perturber is trained to do: losses, who counts how much, and further terms."""

from collections.abc import Callable, Mapping

from apple_seg.perturb.objectives.adversary import Adversary
from apple_seg.perturb.objectives.discriminator import Discriminator
from apple_seg.perturb.objectives.gap import Gap
from apple_seg.perturb.objectives.matching import class_moments, hsic, mmd_term, moments
from apple_seg.perturb.objectives.objective import Objective, Term
from apple_seg.perturb.objectives.outcome import Outcome, Target
from apple_seg.perturb.objectives.pooling import pool
from apple_seg.perturb.objectives.preserve import preserve
from apple_seg.perturb.objectives.segmentation import LOSSES, SegmentationLoss
from apple_seg.perturb.objectives.weighting import WEIGHTINGS

TERMS: Mapping[str, Callable[..., Term]] = {
    "adversary": Adversary,
    "gap": Gap,
    "preserve": preserve,
    "hsic": hsic,
    "mmd": mmd_term,
    "moments": moments,
    "class-moments": class_moments,
}
"""The further terms that a file may name. Each is made from the channels of the sites, the
number of groups of each attribute, and how many numbers are known of a case, with its options as
keywords."""

__all__ = [
    "LOSSES",
    "TERMS",
    "WEIGHTINGS",
    "Adversary",
    "Discriminator",
    "Objective",
    "Outcome",
    "SegmentationLoss",
    "Target",
    "pool",
]
