"""Numbers about one predicted mask: overlaps, distances between surfaces, volumes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from apple_seg.measure.box import box_around

Mask = NDArray[np.bool_]

Kind = Literal["overlap", "distance", "signed"]
"""What a metric's numbers mean. `overlap`: in [0, 1], more is better, 0 where one mask is empty.
`distance`: less is better, NaN where a mask is empty. `signed`: neither more nor less is better
but 0 is, -1 where only the prediction is empty, NaN where the truth is."""


@dataclass(frozen=True, eq=False)
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

    @cached_property
    def distances(self) -> NDArray[np.float64]:
        """(P,) from each surface voxel of either mask to the nearest one of the other's surface.

        All surface metrics are made of these. Trees of the surfaces alone, as in MONAI: a distance
        map of the whole box, as in medpy, costs two to ten times as much.
        """
        from scipy.spatial import KDTree

        scale = 1.0 if self.spacing is None else np.array(self.spacing, dtype=float)
        here, there = (np.argwhere(surface(mask)) * scale for mask in (self.predicted, self.truth))
        return np.concatenate(
            [
                KDTree(other, leafsize=32, balanced_tree=False).query(points)[0]
                for points, other in ((here, there), (there, here))
            ]
        )


@dataclass(frozen=True)
class Metric:
    """What a column of scores means."""

    title: str
    kind: Kind
    compute: Callable[[Pair], float]

    @property
    def overlap(self) -> bool:
        """Whether it lies in [0, 1] and more is better."""
        return self.kind == "overlap"


def crop(predicted: Mask, truth: Mask) -> tuple[Mask, Mask]:
    """Cut two masks (*spatial), of which one is not empty, to the box around both.

    All metrics here are the same on the cut masks: what lies outside the box is background, as
    what lies outside an image is.
    """
    box = box_around(predicted | truth)
    return predicted[box], truth[box]


def surface(mask: Mask) -> Mask:
    """Return the voxels of a mask (*spatial) that share a face with background.

    What lies outside the array is background. These are the edges of MONAI and the borders of
    medpy, a mask less its erosion; their erosion takes ten times as long.
    """
    inside = mask.copy()
    parts = slice(1, None), slice(None, -1), slice(1), slice(-1, None)
    for axis in range(mask.ndim):
        ahead, behind, first, last = ((slice(None),) * axis + (part,) for part in parts)
        inside[ahead] &= mask[behind]
        inside[behind] &= mask[ahead]
        inside[first] = inside[last] = False
    return mask ^ inside


def measure(pair: Pair, metrics: Sequence[str]) -> dict[str, float]:
    """Compute the named metrics of one class of one case; see `empties.py` for empty masks.

    Args:
        pair: Either mask, or both, may be empty.
        metrics: Keys of `METRICS`.
    """
    found, there = bool(pair.predicted.any()), bool(pair.truth.any())
    if found and there:
        cropped = Pair(*crop(pair.predicted, pair.truth), pair.spacing, pair.tolerance)
        return {name: METRICS[name].compute(cropped) for name in metrics}
    nan = float("nan")
    of_kind: dict[Kind, float] = {
        "overlap": 0.0 if found or there else nan,
        "distance": nan,
        "signed": -1.0 if there else nan,
    }
    return {name: of_kind[METRICS[name].kind] for name in metrics}


def _dice(pair: Pair) -> float:
    from medpy.metric.binary import dc

    return float(dc(pair.predicted, pair.truth))


def _iou(pair: Pair) -> float:
    from medpy.metric.binary import jc

    return float(jc(pair.predicted, pair.truth))


def _nsd(pair: Pair) -> float:
    # In single precision, as MONAI compares: 3 voxels of 0.1 mm are 0.3 mm and not more.
    return float(np.mean(pair.distances.astype(np.float32) <= np.float32(pair.tolerance)))


def _hd95(pair: Pair) -> float:
    return float(np.percentile(pair.distances, 95))


def _assd(pair: Pair) -> float:
    return float(pair.distances.mean())


def _volume_error(pair: Pair) -> float:
    from medpy.metric.binary import ravd

    return float(ravd(pair.predicted, pair.truth))


METRICS: Mapping[str, Metric] = {
    "dice": Metric("Dice", "overlap", _dice),
    "iou": Metric("IoU", "overlap", _iou),
    "nsd": Metric("NSD", "overlap", _nsd),
    "hd95": Metric("HD95", "distance", _hd95),
    "assd": Metric("ASSD", "distance", _assd),
    "volume_error": Metric("volume error", "signed", _volume_error),
}
"""Column name to metric. `iou`: intersection over union, medpy's `jc`. `nsd`: normalised surface
Dice, MONAI's `compute_surface_dice`. `hd95`, `assd`: the 95th percentile and the mean of the
distances between surfaces, both ways together, medpy's of those names. `volume_error`: (predicted -
true) / true volume, medpy's `ravd`. The tests hold each to its library."""
