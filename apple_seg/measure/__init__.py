"""Numbers about cases: metrics of predicted masks, and what holds where a mask is empty."""

from apple_seg.measure.empties import EVERY_POLICY, POLICIES, Policy, apply_policy
from apple_seg.measure.gather import gathered_table
from apple_seg.measure.metrics import METRICS, Metric, Pair, measure
from apple_seg.measure.scores import DEFAULT_METRICS, DEFAULT_TOLERANCE, Predict, score
from apple_seg.measure.stored import StoredMasks, stored_masks

__all__ = [
    "DEFAULT_METRICS",
    "DEFAULT_TOLERANCE",
    "EVERY_POLICY",
    "METRICS",
    "POLICIES",
    "Metric",
    "Pair",
    "Policy",
    "Predict",
    "StoredMasks",
    "apply_policy",
    "gathered_table",
    "measure",
    "score",
    "stored_masks",
]
