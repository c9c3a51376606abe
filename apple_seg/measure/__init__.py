"""Numbers about cases: metrics of predicted masks, and what holds where a mask is empty."""

from apple_seg.measure.auc import Auc, AucChange, auc_change, macro_auc
from apple_seg.measure.empties import EVERY_POLICY, POLICIES, Policy, apply_policy
from apple_seg.measure.gather import gathered_table
from apple_seg.measure.metrics import METRICS, Metric, Pair, measure
from apple_seg.measure.probes import Leakage, probe
from apple_seg.measure.scores import DEFAULT_METRICS, DEFAULT_TOLERANCE, Predict, score
from apple_seg.measure.shape import shape_features, shape_names
from apple_seg.measure.skin import ITA_COLUMN, ITA_CUTS, ITA_NAMES, ita_estimate, with_ita
from apple_seg.measure.stored import StoredMasks, stored_masks
from apple_seg.measure.tables import ScoreTable, read_scores

__all__ = [
    "DEFAULT_METRICS",
    "DEFAULT_TOLERANCE",
    "EVERY_POLICY",
    "ITA_COLUMN",
    "ITA_CUTS",
    "ITA_NAMES",
    "METRICS",
    "POLICIES",
    "Auc",
    "AucChange",
    "Leakage",
    "Metric",
    "Pair",
    "Policy",
    "Predict",
    "ScoreTable",
    "StoredMasks",
    "apply_policy",
    "auc_change",
    "gathered_table",
    "ita_estimate",
    "macro_auc",
    "measure",
    "probe",
    "read_scores",
    "score",
    "shape_features",
    "shape_names",
    "stored_masks",
    "with_ita",
]
