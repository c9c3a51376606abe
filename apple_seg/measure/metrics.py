"""Numbers about one predicted mask: the arithmetic is MONAI's and medpy's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Pair:
    """A predicted and a true mask of one class, neither of them empty."""

    predicted: Mask
    """(*spatial)."""

    truth: Mask
    """(*spatial)."""

    spacing: tuple[float, ...] | None
    """Millimetres a voxel; None counts in voxels."""

    tolerance: float
    """How far a surface may be off and count as right: in mm, or in voxels without spacing."""


@dataclass(frozen=True)
class Metric:
    """What a column of scores means."""

    title: str
    overlap: bool
    """In [0, 1], more is better, 0 where one mask is empty; else a distance, less is better and
    NaN where a mask is empty."""

    compute: Callable[[Pair], float]


def crop(predicted: Mask, truth: Mask) -> tuple[Mask, Mask]:
    """Cut two masks (*spatial) to the box around both, with a voxel around it where there is one.

    All metrics here are the same on the cut masks: surfaces lie inside the box, and the voxel
    around it is background, as what lies outside an image is to both libraries.
    """
    either = predicted | truth
    axes = range(either.ndim)
    box = []
    for axis in axes:
        filled = np.flatnonzero(either.any(axis=tuple(other for other in axes if other != axis)))
        box.append(slice(max(int(filled[0]) - 1, 0), int(filled[-1]) + 2))
    return predicted[tuple(box)], truth[tuple(box)]


def measure(pair: Pair, metrics: Sequence[str]) -> dict[str, float]:
    """Compute the named metrics of one class of one case; see `empties.py` for empty masks."""
    present = bool(pair.predicted.any()), bool(pair.truth.any())
    if not any(present):
        return dict.fromkeys(metrics, float("nan"))
    if not all(present):
        return {name: 0.0 if METRICS[name].overlap else float("nan") for name in metrics}
    cropped = Pair(*crop(pair.predicted, pair.truth), pair.spacing, pair.tolerance)
    return {name: METRICS[name].compute(cropped) for name in metrics}


def _dice(pair: Pair) -> float:
    import torch
    from monai.metrics.meandice import compute_dice

    predicted, truth = (
        torch.from_numpy(mask.astype(np.float32))[None, None]
        for mask in (pair.predicted, pair.truth)
    )
    return float(compute_dice(predicted, truth))


def _nsd(pair: Pair) -> float:
    """Return MONAI's `compute_surface_dice`, of its own surfaces and distances.

    MONAI's function crops once more, through its transforms, and takes three times as long.
    """
    from monai.metrics.utils import get_mask_edges, get_surface_distance

    surfaces = get_mask_edges(pair.predicted, pair.truth, crop=False)
    ways = (surfaces, surfaces[::-1])
    distances: Any = np.concatenate(
        [get_surface_distance(here, there, spacing=pair.spacing) for here, there in ways]
    )
    return float(np.mean(distances <= pair.tolerance))


def _hd95(pair: Pair) -> float:
    from medpy.metric.binary import hd95

    return float(hd95(pair.predicted, pair.truth, voxelspacing=pair.spacing))


def _assd(pair: Pair) -> float:
    from medpy.metric.binary import assd

    return float(assd(pair.predicted, pair.truth, voxelspacing=pair.spacing))


METRICS: Mapping[str, Metric] = {
    "dice": Metric("Dice", overlap=True, compute=_dice),
    "nsd": Metric("NSD", overlap=True, compute=_nsd),
    "hd95": Metric("HD95", overlap=False, compute=_hd95),
    "assd": Metric("ASSD", overlap=False, compute=_assd),
}
"""Column name to metric: normalised surface Dice (NSD), the 95th percentile of the Hausdorff
distance (HD95), and the average symmetric surface distance (ASSD)."""
