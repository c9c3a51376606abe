"""Pictures of single cases: the worst and the most changed of each group, with contours.

Audits of volumes that are gathered from slices have none: no case there is a volume.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apple_seg.audit.comparison import Comparison
from apple_seg.audit.results import Audit, Picture
from apple_seg.data import Case, Cohort
from apple_seg.measure import METRICS, Predict


class Line(NamedTuple):
    """How a contour is drawn.

    Colours are Okabe and Ito's, which the colour-blind tell apart; dashes serve prints in grey.
    """

    colour: str
    dashes: str
    width: float


LINES: Mapping[str, Line] = {
    "truth": Line("#ffffff", "solid", 1.6),
    "host": Line("#e69f00", "dashed", 2.2),
    "perturbed": Line("#56b4e9", "dotted", 2.4),
}


class Choice(NamedTuple):
    """A case to draw, and why."""

    case: str
    group: str
    kind: str
    caption: str


def draw_cases(
    result: Audit | Comparison, cohort: Cohort, host: Predict, perturbed: Predict | None = None
) -> tuple[Picture, ...]:
    """Read and predict the chosen cases once more, and draw them.

    Args:
        result: Says which cases are chosen.
        cohort: Where they are read from.
        host: Draws the contour `host`.
        perturbed: Draws the contour `perturbed`; None in an audit of one host.
    """
    choices = list(_chosen(result))
    rows = {case: row for row, case in cohort.table["case"].items()}
    wanted = list(dict.fromkeys(choice.case for choice in choices))
    hosts = {"host": host} if perturbed is None else {"host": host, "perturbed": perturbed}
    size, drawn = result.settings.batch_size, {}
    for start in range(0, len(wanted), size):
        labels = np.array([rows[case] for case in wanted[start : start + size]])
        cases = list(cohort.take(labels))
        masks = {name: predict(cases) for name, predict in hosts.items()}
        for place, case in enumerate(cases):
            drawn[case.key] = draw(case, {name: found[place] for name, found in masks.items()})
    return tuple(Picture(**choice._asdict(), png=drawn[choice.case]) for choice in choices)


def draw(case: Case, masks: Mapping[str, NDArray[np.bool_]]) -> bytes:
    """Draw a case's image with contours of its true mask and of others, as PNG.

    Volumes are shown in the slice, along the last axis, that has most of the truth.

    Args:
        case: One channel is drawn in grey, three as colours, scaled to the image's own range.
        masks: Key of `LINES` to (K, *spatial).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    truth = {} if case.mask is None else {"truth": case.mask}
    planes = {**truth, **masks}
    picture = _slice(_scaled(case.image), _depth(planes))
    height, width = picture.shape[:2]
    figure = Figure(figsize=(3.6, 3.6 * min(max(height / width, 0.3), 3)), dpi=100)
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
    outlines = [
        (LINES[name], _slice(plane[None], _depth(planes))[..., 0])
        for name, mask in planes.items()
        for plane in mask
    ]
    # All shadows first: else the last one would hide the dashes of those before.
    for line, plane in outlines:
        _outline(axes, plane, colors="black", linewidths=line.width + 1.4, alpha=0.6)
    for line, plane in outlines:
        _outline(axes, plane, colors=line.colour, linestyles=line.dashes, linewidths=line.width)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    content = io.BytesIO()
    canvas.print_figure(content, format="png")
    return content.getvalue()


def _outline(axes: Any, plane: NDArray[np.bool_], **looks: Any) -> None:
    if not plane.any():
        return
    height, width = plane.shape
    # A border of background closes contours at the image's edge.
    grid = np.arange(-1, width + 1), np.arange(-1, height + 1), np.pad(plane, 1).astype(float)
    axes.contour(*grid, [0.5], **looks)


def _scaled(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scale (C, *spatial) to [0, 1], and keep three channels or one."""
    kept = image if len(image) == 3 else image[:1]
    low, high = float(kept.min()), float(kept.max())
    return np.asarray((kept - low) / (high - low or 1.0), dtype=float)


def _depth(planes: Mapping[str, NDArray[np.bool_]]) -> int | None:
    """Return the slice with most of the truth, or else of a prediction; None in 2D."""
    for mask in planes.values():
        if mask.ndim == 3:
            return None
        if mask.any():
            return int(np.asarray(mask.sum(axis=(0, 1, 2))).argmax())
    return int(next(iter(planes.values())).shape[-1]) // 2


def _slice(volume: NDArray[Any], depth: int | None) -> NDArray[Any]:
    """Return (H, W, C), or (H, W, 1), of (C, H, W) or (C, H, W, D)."""
    return np.moveaxis(volume if depth is None else volume[..., depth], 0, -1)


def _chosen(result: Audit | Comparison) -> Iterator[Choice]:
    count, metric = result.settings.gallery, result.settings.metric
    for group in result.by_group:
        cases = result.cases[result.cases["group"] == group]
        if isinstance(result, Audit):
            worst = cases.nsmallest(count, metric)
            yield from _choices(worst, group, "worst", metric)
            continue
        change = f"change_{metric}"
        lists = {
            "worst": cases.nsmallest(count, f"host_{metric}"),
            "most gained": cases[cases[change] > 0].nlargest(count, change),
            "most lost": cases[cases[change] < 0].nsmallest(count, change),
        }
        for kind, some in lists.items():
            yield from _choices(some, group, kind, metric)


def _choices(cases: pd.DataFrame, group: str, kind: str, metric: str) -> Sequence[Choice]:
    title = METRICS[metric].title
    columns = [name for name in (metric, f"host_{metric}") if name in cases]
    found = []
    for row in cases.to_dict("records"):
        caption = f"{title} {row[columns[0]]:.3f}"
        if f"perturbed_{metric}" in row:
            caption += f" to {row[f'perturbed_{metric}']:.3f} ({row[f'change_{metric}']:+.3f})"
        found.append(Choice(row["case"], group, kind, caption))
    return found
