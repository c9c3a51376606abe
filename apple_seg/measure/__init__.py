"""Numbers about cases: metrics of predicted masks, and what holds where a mask is empty."""

from apple_seg.measure.empties import POLICIES, Policy, apply_policy
from apple_seg.measure.metrics import METRICS, Metric, Pair, measure
from apple_seg.measure.scores import DEFAULT_METRICS, DEFAULT_TOLERANCE, Predict, score

__all__ = [
    "DEFAULT_METRICS",
    "DEFAULT_TOLERANCE",
    "METRICS",
    "POLICIES",
    "Metric",
    "Pair",
    "Policy",
    "Predict",
    "apply_policy",
    "measure",
    "score",
]
