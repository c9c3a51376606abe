"""How much each site matters to the masks: what erasing or disturbing its latent does to them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from apple_seg.audit.inference.figures import Design, Disaggregated, disaggregate
from apple_seg.audit.sites.collecting import Codes, batches, evenly, runs, seed_of
from apple_seg.audit.sites.settings import DEFAULTS, SurveySettings
from apple_seg.data import Case, Cohort, Groups
from apple_seg.errors import HostError
from apple_seg.host import PerturbedSegmentor, Pipeline
from apple_seg.measure import Pair, measure


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What became of the masks of some cases, overall and by group."""

    dice_lost: Disaggregated
    """Dice before less Dice after, of the same cases; no cases where none has a true mask."""

    mask_moved: Disaggregated
    """1 - Dice of the mask after with the mask before: a mask may move and lose nothing on average,
    here gaining and there losing. It needs no true mask."""

    @property
    def figures(self) -> Mapping[str, Disaggregated]:
        """Both, by what they are."""
        return {"Dice lost": self.dice_lost, "mask moved": self.mask_moved}


@dataclass(frozen=True, kw_only=True)
class SiteInfluence:
    """What one site matters."""

    erased: Effect
    """Each channel is replaced by its mean over cells: what is left is how much of it there is,
    and no longer where."""

    disturbed: Effect
    """Gaussian noise of each channel's own standard deviation is added. Half of its variance is
    common to all cells of a channel: a mask that listens to how much of a channel there is, and
    not where, does not hear the erasing."""

    @property
    def effects(self) -> Mapping[str, Effect]:
        """Both, by what was done."""
        return {"erased": self.erased, "disturbed": self.disturbed}


class Erase(nn.Module):
    """Replace each channel of a latent by its mean over cells."""

    def forward(self, latent: Tensor) -> Tensor:
        """Map (N, C, *cells) to the same shape."""
        cells = tuple(range(2, latent.ndim))
        return latent.mean(cells, keepdim=True).expand_as(latent).clone()


class Disturb(nn.Module):
    """Add Gaussian noise of each channel's own standard deviation over cells.

    What is drawn for a case depends on the seed and its key alone, not on its batch.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self._keys: Sequence[str] = ()
        self._seen = 0

    def expect(self, keys: Sequence[str]) -> None:
        """Name the cases of the next batch."""
        self._keys, self._seen = keys, 0

    def forward(self, latent: Tensor) -> Tensor:
        """Map (N, C, *cells) to the same shape."""
        cells = tuple(range(2, latent.ndim))
        noise = torch.stack([self._draw(latent.shape[1:]) for _ in latent]).to(latent)
        return latent + noise * latent.std(cells, correction=0, keepdim=True)

    def _draw(self, shape: Sequence[int]) -> Tensor:
        """Return noise (C, *cells) of variance 1 for the row that comes next."""
        call, row = divmod(self._seen, len(self._keys))
        self._seen += 1
        generator = torch.Generator().manual_seed(seed_of(self.seed, self._keys[row], call))
        own = torch.randn(tuple(shape), generator=generator)
        common = torch.randn((shape[0], *[1] * (len(shape) - 1)), generator=generator)
        return (own + common) / 2**0.5


def survey_influence(
    pipeline: Pipeline,
    cohort: Cohort,
    groups: Groups,
    *,
    settings: SurveySettings = DEFAULTS,
    progress: bool = True,
) -> list[SiteInfluence | None]:
    """Measure what each site of a wrapped host matters to its masks.

    Its perturbers take no part; they and their strength are back afterwards.

    Args:
        pipeline: A wrapped host as it is deployed.
        cohort: Cases, one at least; see `choose_by_group` for those that are used.
        groups: Declared before anything is measured.
        settings: What to do.
        progress: Whether to show a progress bar.

    Returns:
        A site each; None where the latent is a single cell, which its mean does not change.

    Raises:
        HostError: The perturbers are disabled, or the host returned what is no number.
    """
    if not pipeline.segmentor.enabled:
        raise HostError("influence is measured with perturbers; leave disabled() first")
    codes = groups.codes(cohort.table)
    places = choose_by_group(codes, settings.influence_cases)
    chosen = cohort.take(cohort.table.index.to_numpy()[places])
    trials = _Trials(pipeline, settings.seed)
    rows: list[Mapping[_Trial, _Outcome]] = []
    text = "erasing and disturbing sites" if progress else None
    with _restored(pipeline.segmentor):
        for batch in batches(chosen, settings.batch_size, text):
            for cases in runs(pipeline, batch):
                rows += trials.run(cases)
    design = Design(
        codes=codes[places],
        clusters=chosen.clusters.astype(str),
        labels=groups.labels,
        reference=groups.reference_code,
        confidence=settings.confidence,
        resamples=0,
        seed=settings.seed,
    )
    return [
        SiteInfluence(
            erased=_effect([row[site, "erased"] for row in rows], design),
            disturbed=_effect([row[site, "disturbed"] for row in rows], design),
        )
        if site in trials.sites
        else None
        for site in range(len(pipeline.segmentor.sites))
    ]


def choose_by_group(codes: Codes, limit: int) -> Codes:
    """Return up to so many places, of each group equally many as far as it has them.

    Those of a group are evenly spaced over it; of unknown group is one only where all are. Every
    group has a place, whatever the limit.
    """
    known = codes[codes >= 0] if (codes >= 0).any() else codes
    sizes = dict(zip(*np.unique(known, return_counts=True), strict=True))
    quotas = dict.fromkeys(sizes, 0)
    for _ in range(min(max(limit, len(sizes)), sum(sizes.values()))):
        left = [code for code in sizes if quotas[code] < sizes[code]]
        quotas[min(left, key=quotas.__getitem__)] += 1
    parts = [evenly(np.flatnonzero(codes == code), quota) for code, quota in quotas.items()]
    return np.sort(np.concatenate(parts))


_Trial = tuple[int, str]
"""A site's place, and what is done to it."""

_Outcome = tuple[float, float]
"""Dice lost and mask moved, of one case."""

_Masks = NDArray[np.bool_]


class _Trials:
    """Runs a batch once as deployed and once for each trial, and compares the masks."""

    def __init__(self, pipeline: Pipeline, seed: int) -> None:
        shapes = pipeline.segmentor.shapes
        self.pipeline = pipeline
        self.sites = [site for site, shape in enumerate(shapes) if prod(shape.cells) > 1]
        self.nothing = [nn.Identity() for _ in shapes]
        self.disturb = Disturb(seed)
        kinds: dict[str, nn.Module] = {"erased": Erase(), "disturbed": self.disturb}
        self.trials = {
            (site, name): [kind if place == site else nn.Identity() for place in range(len(shapes))]
            for site in self.sites
            for name, kind in kinds.items()
        }

    def run(self, cases: Sequence[Case]) -> list[Mapping[_Trial, _Outcome]]:
        """Return the outcomes of each case; the last trial's perturbers are left installed."""
        self.pipeline.segmentor.install(self.nothing)
        deployed = self.pipeline(cases)
        rows: list[dict[_Trial, _Outcome]] = [{} for _ in cases]
        for trial, perturbers in self.trials.items():
            self.pipeline.segmentor.install(perturbers)
            self.disturb.expect([case.key for case in cases])
            masks = self.pipeline(cases)
            for row, case, before, after in zip(rows, cases, deployed, masks, strict=True):
                row[trial] = _compare(before, after, case.mask)
        return list(rows)


def _compare(before: _Masks, after: _Masks, truth: _Masks | None) -> _Outcome:
    """Compare one case's masks (K, *spatial); a class whose masks are all empty loses nothing."""
    moved = [0.0 if np.isnan(dice) else 1 - dice for dice in map(_dice, after, before)]
    if truth is None:
        return float("nan"), float(np.mean(moved))
    pairs = zip(map(_dice, before, truth), map(_dice, after, truth), strict=True)
    # As in a paired audit: a truly empty mask counts where one of the two is not, and as 1 then.
    scored = [pair for pair in pairs if not np.isnan(pair).all()]
    lost = [float(was - now) for was, now in np.nan_to_num(scored, nan=1.0)]
    return float(np.mean(lost)) if lost else float("nan"), float(np.mean(moved))


def _dice(one: _Masks, other: _Masks) -> float:
    """Return the Dice of two masks (*spatial); NaN where both are empty."""
    return measure(Pair(one, other, None, 0.0), ("dice",))["dice"]


def _effect(outcomes: Sequence[_Outcome], design: Design) -> Effect:
    lost, moved = np.array(outcomes, dtype=np.float64).T
    return Effect(dice_lost=disaggregate(lost, design), mask_moved=disaggregate(moved, design))


@contextmanager
def _restored(segmentor: PerturbedSegmentor) -> Iterator[None]:
    """Put all back as it was afterwards; meanwhile what is installed acts fully."""
    installed, strength, views = list(segmentor.perturbers), segmentor.strength, segmentor.views
    try:
        segmentor.strength = 1.0
        yield
    finally:
        segmentor.install(installed)
        segmentor.strength, segmentor.views = strength, views
