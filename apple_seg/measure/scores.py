"""Scores per case: a cohort goes through a segmentor once, a batch in memory at a time."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from apple_seg.data import Case, Cohort
from apple_seg.errors import CaseError
from apple_seg.measure.gather import Slices, Subject, stack, volumes_of
from apple_seg.measure.metrics import METRICS, Mask, Pair, measure
from apple_seg.measure.stored import StoredMasks
from apple_seg.processes import ONE, Processes

Predict = Callable[[Sequence[Case]], Sequence[NDArray[np.bool_]]]
"""Cases in, one boolean array (K, *spatial) a case out, each on its mask's own grid."""

Rows = list[dict[str, Any]]

DEFAULT_METRICS = ("dice", "iou", "nsd", "hd95", "assd", "volume_error")
DEFAULT_TOLERANCE = 2.0


def score(
    predict: Predict,
    cohort: Cohort,
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    tolerance: float = DEFAULT_TOLERANCE,
    batch_size: int = 16,
    gather: str | None = None,
    thickness: str | None = None,
    progress: bool = True,
    description: str = "scoring",
    processes: Processes = ONE,
) -> pd.DataFrame:
    """Score every case of a cohort, under the policy `skip` for empty masks.

    Of N processes each takes every Nth batch (or volume), and all get the whole table. A batch
    holds the same cases as in one process, so that the numbers are the same to the last bit, as
    long as `predict` depends on its batch alone and torch has as many threads.

    Args:
        predict: The segmentor; it sees `batch_size` cases at a time, in the cohort's order. For
            `StoredMasks` the cohort's images are not read.
        cohort: Annotated cases.
        metrics: Keys of `METRICS`.
        tolerance: Of the NSD: in mm, or in pixels where a case has no spacing.
        batch_size: Cases in memory at once.
        gather: Column that says of which volume a case is a slice. Slices are predicted as they
            are, volume by volume; the volume is scored, its slices in the cohort's order (which
            distances depend on), and held in memory (its masks only). `gathered_table` gives the
            table that goes with such scores.
        thickness: With `gather`: column with the millimetres from slice to slice. Without it
            distances in volumes are in voxels, each as deep as it is wide.
        progress: Whether to show a progress bar.
        description: What the progress bar says.
        processes: Those that share the work; each of them has to call this.

    Returns:
        A row a case and class, in the cohort's order: `case`, `cluster`, `class`, `truth_size`
        and `predicted_size` in voxels, `unit` of distances (`mm` or `px`), then the metrics. With
        `gather` a row a volume and class, in the order of their first slices, `case` the volume.

    Raises:
        CaseError: A case has no mask, or its prediction is not a boolean array of its shape; or
            slices cannot be gathered, which is looked at before any is predicted.
        ValueError: A metric is not known.
    """
    if unknown := [name for name in metrics if name not in METRICS]:
        raise ValueError(f"no metric {', '.join(unknown)}; known are: {', '.join(METRICS)}")
    if thickness is not None and gather is None:
        raise ValueError(f"thickness {thickness!r} is that of gathered slices; name gather, too")
    if batch_size < 1:
        raise ValueError(f"batch_size is 1 at least, got {batch_size}")
    if isinstance(predict, StoredMasks):
        cohort = cohort.without_images()
    jobs = list(_jobs(cohort, batch_size, gather, thickness))
    mine = jobs[processes.rank :: processes.count]
    scorer = _Scorer(predict, tuple(metrics), tolerance, tuple(cohort.classes))
    shown = progress and processes.main
    with tqdm(
        desc=description + (f" (share 1 of {processes.count})" if processes.count > 1 else ""),
        total=sum(job.cases for job in mine),
        disable=None if shown else True,
        leave=False,
    ) as bar:
        share = list(scorer.run(mine, cohort, bar))
    # The first jobs of all processes, then the second ones: the order of the cohort.
    dealt = zip_longest(*processes.gather(share), fillvalue=[])
    rows = [row for jobs_ in dealt for job_ in jobs_ for row in job_]
    table = pd.DataFrame(rows, columns=[*_LEADING, *metrics])
    return table.astype(dict.fromkeys(metrics, float))  # also where there is no row


_LEADING = ("case", "cluster", "class", "truth_size", "predicted_size", "unit")


class _Job(NamedTuple):
    """What one process does in one go: a batch of cases, or all of the batches of a volume."""

    batches: list[Sequence[int]]
    """Positions in the cohort."""

    volume: Slices | None

    @property
    def cases(self) -> int:
        return sum(map(len, self.batches))


def _jobs(
    cohort: Cohort, batch_size: int, gather: str | None, thickness: str | None
) -> Iterator[_Job]:
    """Deal the cohort out, the same for any number of processes: no batch has two volumes."""
    if gather is None:
        for batch in _batches(range(len(cohort)), batch_size):
            yield _Job([batch], None)
    else:
        for slices in volumes_of(cohort.table, gather, thickness):
            yield _Job(list(_batches(slices.rows, batch_size)), slices)


def _batches(places: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (places[start : start + size] for start in range(0, len(places), size))


@dataclass(frozen=True)
class _Scorer:
    """What is the same for all cases."""

    predict: Predict
    metrics: tuple[str, ...]
    tolerance: float
    classes: tuple[str, ...]

    def run(self, jobs: Iterable[_Job], cohort: Cohort, bar: "tqdm[Any]") -> Iterator[Rows]:
        """Yield the rows of each job; it is measured while the next one is read and predicted."""
        pending: list[Future[Rows]] | None = None
        # Two pools, or reading would wait for the measuring of the batch before.
        with (
            ThreadPoolExecutor(os.cpu_count()) as readers,
            ThreadPoolExecutor(os.cpu_count()) as pool,
        ):
            for job in jobs:
                subjects: list[Subject] = []
                for batch in job.batches:
                    subjects += self._predicted(list(readers.map(cohort.__getitem__, batch)))
                    bar.update(len(batch))
                if job.volume is not None:
                    subjects = [stack(job.volume, subjects)]
                measured, pending = pending, [pool.submit(self._rows, one) for one in subjects]
                if measured is not None:
                    yield [row for future in measured for row in future.result()]
            if pending is not None:
                yield [row for future in pending for row in future.result()]

    def _predicted(self, cases: Sequence[Case]) -> list[Subject]:
        """Predict a batch; the images are not held on to."""
        return [
            Subject(case.key, case.cluster, case.spacing, truth, mask)
            for case, truth, mask in _checked(self.predict, cases)
        ]

    def _rows(self, subject: Subject) -> Rows:
        rows = []
        unit = "px" if subject.spacing is None else "mm"
        planes = zip(self.classes, subject.truth, subject.predicted, strict=True)
        for name, truth, predicted in planes:
            sizes = int(np.count_nonzero(truth)), int(np.count_nonzero(predicted))
            leading = (subject.key, subject.cluster, name, *sizes, unit)
            pair = Pair(predicted, truth, subject.spacing, self.tolerance)
            rows.append(dict(zip(_LEADING, leading, strict=True)) | measure(pair, self.metrics))
        return rows


def _checked(predict: Predict, cases: Sequence[Case]) -> Iterator[tuple[Case, Mask, Mask]]:
    """Predict a batch, check what comes back, and yield each case with its two masks.

    Raises:
        CaseError: See `score`.
    """
    truths = [_truth(case) for case in cases]
    masks = list(predict(cases))
    if len(masks) != len(cases):
        raise CaseError(
            f"{len(cases)} cases went into the segmentor ({cases[0].key} first) and "
            f"{len(masks)} masks came out; one a case is expected"
        )
    for case, truth, mask in zip(cases, truths, masks, strict=True):
        if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != truth.shape:
            found = f"{getattr(mask, 'dtype', type(mask).__name__)} of {np.shape(mask)}"
            raise CaseError(
                f"{case.key}: the prediction is {found}, a boolean array of {truth.shape} is "
                "expected: (classes, *spatial) on the mask's own grid, thresholded"
            )
        yield case, truth, mask


def _truth(case: Case) -> Mask:
    if case.mask is None:
        raise CaseError(f"{case.key}: has no mask to be scored against")
    spatial = case.mask.shape[1:]
    if case.spacing is not None and len(case.spacing) != len(spatial):
        raise CaseError(f"{case.key}: spacing {case.spacing} does not fit the shape {spatial}")
    return case.mask
