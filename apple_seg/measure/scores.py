"""Scores per case: a cohort goes through a segmentor once, a batch in memory at a time."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from apple_seg.data import Case, Cohort
from apple_seg.errors import CaseError
from apple_seg.measure.metrics import METRICS, Pair, measure
from apple_seg.processes import ONE, Processes

Predict = Callable[[Sequence[Case]], Sequence[NDArray[np.bool_]]]
"""Cases in, one boolean array (K, *spatial) a case out, each on its mask's own grid."""

Rows = list[dict[str, Any]]

DEFAULT_METRICS = ("dice", "nsd", "hd95", "assd")
DEFAULT_TOLERANCE = 2.0


def score(
    predict: Predict,
    cohort: Cohort,
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    tolerance: float = DEFAULT_TOLERANCE,
    batch_size: int = 16,
    progress: bool = True,
    description: str = "scoring",
    processes: Processes = ONE,
) -> pd.DataFrame:
    """Score every case of a cohort, under the policy `skip` for empty masks.

    Of N processes each takes every Nth batch, and all get the whole table. A batch holds
    the same cases as in one process, so that the numbers are the same to the last bit, as long as
    `predict` depends on its batch alone and torch has as many threads.

    Args:
        predict: The segmentor; it sees `batch_size` cases at a time, in the cohort's order.
        cohort: Annotated cases.
        metrics: Keys of `METRICS`.
        tolerance: Of the NSD: in mm, or in pixels where a case has no spacing.
        batch_size: Cases in memory at once.
        progress: Whether to show a progress bar.
        description: What the progress bar says.
        processes: Those that share the work; each of them has to call this.

    Returns:
        A row a case and class, in the cohort's order: `case`, `cluster`, `class`, `truth_size`
        and `predicted_size` in voxels, `unit` of distances (`mm` or `px`), then the metrics.

    Raises:
        CaseError: A case has no mask, or its prediction is not a boolean array of its shape.
        ValueError: A metric is not known.
    """
    if unknown := [name for name in metrics if name not in METRICS]:
        raise ValueError(f"no metric {', '.join(unknown)}; known are: {', '.join(METRICS)}")
    scorer = _Scorer(tuple(metrics), tolerance, tuple(cohort.classes))
    starts = range(processes.rank * batch_size, len(cohort), processes.count * batch_size)
    batches = [range(start, min(start + batch_size, len(cohort))) for start in starts]
    shown = progress and processes.main
    with (
        tqdm(
            desc=description + (f" (share 1 of {processes.count})" if processes.count > 1 else ""),
            total=sum(map(len, batches)),
            disable=None if shown else True,
            leave=False,
        ) as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        read = (list(pool.map(cohort.__getitem__, batch)) for batch in batches)
        share = list(_measure(predict, read, scorer, pool, bar))
    # The first batches of all processes, then the second ones: the order of the cohort.
    dealt = zip_longest(*processes.gather(share), fillvalue=[])
    rows = [row for batches_ in dealt for batch_ in batches_ for row in batch_]
    return pd.DataFrame(rows, columns=[*_LEADING, *metrics])


_LEADING = ("case", "cluster", "class", "truth_size", "predicted_size", "unit")


@dataclass(frozen=True)
class _Scorer:
    """What is the same for all cases."""

    metrics: tuple[str, ...]
    tolerance: float
    classes: tuple[str, ...]

    def submit(
        self, pool: ThreadPoolExecutor, cases: Sequence[Case], masks: Sequence[NDArray[np.bool_]]
    ) -> list[Future[Rows]]:
        """Start to measure a batch; the images are not held on to."""
        return [
            pool.submit(self._rows, case.key, case.cluster, case.spacing, case.mask, mask)
            for case, mask in zip(cases, masks, strict=True)
        ]

    def _rows(
        self, key: str, cluster: str, spacing: Any, truth: Any, predicted: NDArray[np.bool_]
    ) -> Rows:
        rows = []
        for name, true_plane, plane in zip(self.classes, truth, predicted, strict=True):
            leading = (key, cluster, name, int(true_plane.sum()), int(plane.sum()))
            unit = "px" if spacing is None else "mm"
            numbers = measure(Pair(plane, true_plane, spacing, self.tolerance), self.metrics)
            rows.append(dict(zip(_LEADING, (*leading, unit), strict=True)) | numbers)
        return rows


def _measure(
    predict: Predict,
    batches: Iterable[list[Case]],
    scorer: _Scorer,
    pool: ThreadPoolExecutor,
    bar: "tqdm[Any]",
) -> Iterator[Rows]:
    """Yield the rows of each batch; it is measured while the next one is predicted."""
    pending: list[Future[Rows]] | None = None
    for batch in batches:
        masks = _checked(predict, batch)
        measured, pending = pending, scorer.submit(pool, batch, masks)
        if measured is not None:
            yield _collect(measured, bar)
    if pending is not None:
        yield _collect(pending, bar)


def _collect(measured: Sequence[Future[Rows]], bar: "tqdm[Any]") -> Rows:
    rows = []
    for future in measured:
        rows += future.result()
        bar.update()
    return rows


def _checked(predict: Predict, cases: Sequence[Case]) -> Sequence[NDArray[np.bool_]]:
    """Predict a batch and check what comes back.

    Raises:
        CaseError: See `score`.
    """
    for case in cases:
        if case.mask is None:
            raise CaseError(f"{case.key}: has no mask to be scored against")
        spatial = case.mask.shape[1:]
        if case.spacing is not None and len(case.spacing) != len(spatial):
            raise CaseError(f"{case.key}: spacing {case.spacing} does not fit the shape {spatial}")
    masks = list(predict(cases))
    if len(masks) != len(cases):
        raise CaseError(
            f"{len(cases)} cases went into the segmentor ({cases[0].key} first) and "
            f"{len(masks)} masks came out; one a case is expected"
        )
    for case, mask in zip(cases, masks, strict=True):
        expected = None if case.mask is None else case.mask.shape
        if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != expected:
            found = f"{getattr(mask, 'dtype', type(mask).__name__)} of {np.shape(mask)}"
            raise CaseError(
                f"{case.key}: the prediction is {found}, a boolean array of {expected} is "
                "expected: (classes, *spatial) on the mask's own grid, thresholded"
            )
    return masks
