"""How much each site matters to the masks: what erasing or disturbing its latent costs, by group."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from apple_seg.audit.cases import per_case
from apple_seg.audit.collecting import Codes, evenly, runs, seed_of
from apple_seg.audit.figures import Design, Disaggregated, disaggregate
from apple_seg.audit.pairs import pair
from apple_seg.audit.survey_settings import SurveySettings
from apple_seg.data import Case, Cohort, Groups
from apple_seg.errors import HostError
from apple_seg.host import PerturbedSegmentor, Pipeline
from apple_seg.measure import score

DEFAULTS = SurveySettings()

_METRICS = ("dice",)


@dataclass(frozen=True, kw_only=True)
class SiteInfluence:
    """Mean Dice lost, of the same cases with and without; near 0, the mask does not listen."""

    erased: Disaggregated
    """Each channel is replaced by its mean over cells: what is left is how much of it there is,
    and no longer where."""

    disturbed: Disaggregated
    """Gaussian noise of each channel's own standard deviation is added. Half of its variance is
    common to all cells of a channel: a mask that listens to how much of a channel there is, and
    not where, would not hear the erasing."""


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
        self.keys: Sequence[str] = ()
        self._seen = 0

    def expect(self, keys: Sequence[str]) -> None:
        """Name the cases of the next batch."""
        self.keys, self._seen = keys, 0

    def forward(self, latent: Tensor) -> Tensor:
        """Map (N, C, *cells) to the same shape."""
        cells = tuple(range(2, latent.ndim))
        noise = torch.stack([self._draw(latent.shape[1:]) for _ in latent]).to(latent)
        return latent + noise * latent.std(cells, correction=0, keepdim=True)

    def _draw(self, shape: Sequence[int]) -> Tensor:
        """Return noise (C, *cells) of variance 1 for the row that comes next."""
        call, row = divmod(self._seen, len(self.keys))
        self._seen += 1
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.keys[row], call))
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
        cohort: Annotated cases; see `choose_by_group` for those that are used.
        groups: Declared before anything is measured.
        settings: What to do.
        progress: Whether to show a progress bar.

    Returns:
        A site each; None where the latent is a single cell, which its mean does not change.

    Raises:
        CaseError: A case has no mask.
        HostError: The perturbers are disabled, or the host returned what is no number.
    """
    segmentor = pipeline.segmentor
    if not segmentor.enabled:
        raise HostError("influence is measured with perturbers; leave disabled() first")
    codes = groups.codes(cohort.table)
    places = choose_by_group(codes, settings.influence_cases)
    loss = _Loss(
        pipeline,
        cohort.take(cohort.table.index.to_numpy()[places]),
        Design(
            codes=codes[places],
            clusters=cohort.clusters[places].astype(str),
            labels=groups.labels,
            reference=groups.reference_code,
            confidence=settings.confidence,
            resamples=0,
            seed=settings.seed,
        ),
        settings.batch_size,
    )
    found: list[SiteInfluence | None] = []
    with _cleared(segmentor) as identities:
        deployed = loss.scores()
        sites = range(len(segmentor.sites))
        for site in tqdm(
            sites, "erasing and disturbing sites", disable=None if progress else True, leave=False
        ):
            if prod(segmentor.shapes[site].cells) == 1:
                found.append(None)
                continue
            lost = []
            for perturber in (Erase(), Disturb(settings.seed)):
                segmentor.install([*identities[:site], perturber, *identities[site + 1 :]])
                lost.append(loss.of(deployed, loss.scores(perturber)))
            found.append(SiteInfluence(erased=lost[0], disturbed=lost[1]))
    return found


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


@dataclass(frozen=True)
class _Loss:
    """What is the same for all sites."""

    pipeline: Pipeline
    cohort: Cohort
    design: Design
    batch_size: int

    def scores(self, perturber: nn.Module | None = None) -> pd.DataFrame:
        """Score the cases with what is installed."""

        def predict(batch: Sequence[Case]) -> list[NDArray[np.bool_]]:
            masks = []
            for cases in runs(self.pipeline, batch):
                if isinstance(perturber, Disturb):
                    perturber.expect([case.key for case in cases])
                masks += self.pipeline(cases)
            return masks

        return score(
            predict, self.cohort, metrics=_METRICS, batch_size=self.batch_size, progress=False
        )

    def of(self, deployed: pd.DataFrame, changed: pd.DataFrame) -> Disaggregated:
        """Return the mean Dice lost, of pairs; an empty mask rightly left empty counts as 1."""
        pairs = pair(deployed, changed, _METRICS)
        before, after = (per_case(one, _METRICS)["dice"] for one in pairs)
        return disaggregate((before - after).to_numpy(dtype=float), self.design)


@contextmanager
def _cleared(segmentor: PerturbedSegmentor) -> Iterator[list[nn.Module]]:
    """Take every perturber away for a while, at full strength, and yield what stands there."""
    installed, strength = list(segmentor.perturbers), segmentor.strength
    identities: list[nn.Module] = [nn.Identity() for _ in installed]
    try:
        segmentor.install(identities)
        segmentor.strength = 1.0
        yield identities
    finally:
        segmentor.install(installed)
        segmentor.strength = strength
