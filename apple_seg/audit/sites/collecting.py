"""A host goes through cases once: the vectors that its latents and masks are reduced to."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from apple_seg.data import Case, Cohort
from apple_seg.host import Pipeline
from apple_seg.measure.shape import shape_features

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class Cells(NamedTuple):
    """Single cells of the latents at one site."""

    values: Floats
    """(R, C)."""

    cases: Codes
    """(R,) the place of each cell's case in the cohort."""


class Collected(NamedTuple):
    """What N cases left behind; no latent and no mask is kept."""

    pooled: tuple[Floats, ...]
    """A site each, (N, 2C): each channel's mean over cells, then their standard deviations."""

    cells: tuple[Cells, ...]
    """A site each."""

    masks: Floats
    """(N, F) `shape_features` of the predicted masks."""

    truths: Floats | None
    """(N, F) of the true masks; None where a case has none."""


def evenly(places: Codes, limit: int) -> Codes:
    """Return up to so many places, evenly spaced over them."""
    return places[np.linspace(0, len(places) - 1, min(limit, len(places))).astype(np.int64)]


def seed_of(*parts: object) -> int:
    """Return a seed that depends on these and on nothing else, such as the batch of a case."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def runs(pipeline: Pipeline, cases: Sequence[Case]) -> list[Sequence[Case]]:
    """Return the batch, or its cases one by one where their images cannot share one."""
    several = len({case.image.shape for case in cases}) > 1
    return [[case] for case in cases] if several and not pipeline.spec.input.size else [cases]


def batches(cohort: Cohort, size: int, description: str | None) -> Iterator[list[Case]]:
    """Read a cohort, so many cases at a time; None shows no progress bar."""
    bar = tqdm(
        desc=description, total=len(cohort), disable=None if description else True, leave=False
    )
    with bar, ThreadPoolExecutor() as pool:
        for start in range(0, len(cohort), size):
            cases = list(pool.map(cohort.__getitem__, range(start, min(start + size, len(cohort)))))
            yield cases
            bar.update(len(cases))


def collect(
    pipeline: Pipeline,
    cohort: Cohort,
    *,
    perturbed: bool = False,
    cells: int = 8,
    seed: int = 0,
    batch_size: int = 16,
    progress: bool = True,
) -> Collected:
    """Run a wrapped host over cases and keep vectors of its latents and masks.

    Args:
        pipeline: A wrapped host as it is deployed.
        cohort: Cases, one at least; masks are not needed.
        perturbed: Whether latents and masks are to be those of the perturbed host.
        cells: How many cells of each latent are kept, at places drawn for each case.
        seed: Of these places.
        batch_size: Cases in memory at once.
        progress: Whether to show a progress bar.

    Raises:
        HostError: The host returned something that is not a number.
    """
    collector = _Collector(pipeline, cells, seed)
    mode = nullcontext() if perturbed else pipeline.segmentor.disabled()
    name = "running the perturbed host" if perturbed else "running the host"
    found: list[_Vectors] = []
    shapes: list[Floats] = []
    truths: list[Floats] = []
    with mode, torch.no_grad(), ThreadPoolExecutor() as pool:
        for batch in batches(cohort, batch_size, name if progress else None):
            for cases in runs(pipeline, batch):
                masks, vectors = collector.take(cases)
                found += vectors
                shapes += pool.map(shape_features, masks)
            known = [case.mask for case in batch if case.mask is not None and not perturbed]
            truths += pool.map(shape_features, known)
    return Collected(
        pooled=tuple(np.stack(rows) for rows in zip(*(one.pooled for one in found), strict=True)),
        cells=tuple(map(_gather, zip(*(one.cells for one in found), strict=True))),
        masks=np.stack(shapes),
        truths=np.stack(truths) if len(truths) == len(cohort) else None,
    )


class _Vectors(NamedTuple):
    """What one case left behind."""

    pooled: list[Floats]
    """A site each, (2C,)."""

    cells: list[Floats]
    """A site each, (r, C)."""


@dataclass(frozen=True)
class _Collector:
    """What is the same for all cases."""

    pipeline: Pipeline
    cells: int
    seed: int

    def take(self, cases: Sequence[Case]) -> tuple[list[NDArray[np.bool_]], list[_Vectors]]:
        """Run cases that can share a batch, and reduce what comes."""
        inputs = self.pipeline.inputs(cases)
        logits, latents = self.pipeline.segmentor(inputs.images, **inputs.prompts)
        if len(cases) > 1 and any(len(latent) != len(cases) for latent in latents):
            # A site that fires several times for one image: whose call is whose shows one by one.
            parts = [self.take([case]) for case in cases]
            return [one for masks, _ in parts for one in masks], [v for _, vs in parts for v in vs]
        masks = self.pipeline.decide(logits, inputs, cases)
        flat = [_flat(latent, len(cases)) for latent in latents]
        pooled = [_pool(latent) for latent in flat]
        vectors = [
            _Vectors([one[i] for one in pooled], [self._draw(one[i], case.key) for one in flat])
            for i, case in enumerate(cases)
        ]
        return masks, vectors

    def _draw(self, latent: Tensor, key: str) -> Floats:
        """Return some cells (r, C) of a latent (C, cells)."""
        rng = np.random.default_rng(seed_of(self.seed, key))
        count = latent.shape[1]
        places = rng.choice(count, min(self.cells, count), replace=False)
        return latent[:, torch.from_numpy(places).to(latent.device)].T.double().cpu().numpy()


def _flat(latent: Tensor, cases: int) -> Tensor:
    """Return a latent as (cases, C, cells); of one case, the cells of all its calls."""
    if len(latent) == cases:
        return latent.flatten(2)
    return latent.transpose(0, 1).flatten(1)[None]


def _pool(latent: Tensor) -> Floats:
    """Return each channel's mean over cells and their standard deviations, (n, 2C)."""
    deviation, mean = torch.std_mean(latent.float(), dim=2, correction=0)
    pooled: Floats = torch.cat([mean, deviation], 1).double().cpu().numpy()
    return pooled


def _gather(cells: Sequence[Floats]) -> Cells:
    places = np.repeat(np.arange(len(cells)), [len(one) for one in cells])
    return Cells(np.concatenate(cells), places)
