"""How well the group of a case can be read off a host's latents, and off its masks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from apple_seg.audit.sites.collecting import Codes, Collected, Floats, collect
from apple_seg.audit.sites.settings import DEFAULTS, SurveySettings
from apple_seg.data import Cohort
from apple_seg.host import Pipeline
from apple_seg.measure.auc import AucChange, auc_change
from apple_seg.measure.probes import Leakage, probe


@dataclass(frozen=True, kw_only=True)
class MaskLeakage:
    """What masks give away by shape and place."""

    linear: Leakage
    mlp: Leakage

    @property
    def strongest(self) -> Leakage:
        """The probe that reads most; the linear one where neither reads anything."""
        return _strongest(self.linear, self.mlp)


@dataclass(frozen=True, kw_only=True)
class LatentLeakage:
    """What the latent at one site gives away."""

    linear: Leakage
    """Of each channel's mean and standard deviation over cells."""

    mlp: Leakage
    """Of the same."""

    cells: Leakage
    """Linear, of single cells, several a case: a row of the AUC is a cell."""

    @property
    def strongest(self) -> Leakage:
        """The probe of means and deviations that reads most."""
        return _strongest(self.linear, self.mlp)


@dataclass(frozen=True, kw_only=True)
class SiteLeakage:
    """What one site gives away."""

    host: LatentLeakage
    """Of `f_o`, as the encoder makes it."""

    perturbed: LatentLeakage | None = None
    """Of `f_p`, as the decoder gets it; None where no perturber is installed."""

    change: Mapping[str, AucChange] | None = None
    """`linear` and `mlp` of `f_p` less those of `f_o`, paired."""

    beyond_mask: AucChange | None = None
    """The strongest probe of what the decoder gets less the strongest of the masks that it makes,
    paired; None where there is one of the two only."""


@dataclass(frozen=True, kw_only=True)
class HostLeakage:
    """What a host gives away: at its sites, and by its masks."""

    sites: tuple[SiteLeakage, ...]
    masks: Mapping[str, MaskLeakage]
    """`host`, `perturbed` where a perturber is installed, and `truth` where all cases have one."""


def survey_leakage(
    pipeline: Pipeline,
    cohort: Cohort,
    codes: Codes,
    *,
    settings: SurveySettings = DEFAULTS,
    progress: bool = True,
) -> HostLeakage:
    """Probe every site of a wrapped host, and its masks, for the group of a case.

    Args:
        pipeline: A wrapped host as it is deployed; perturbers other than the identity add `f_p`.
        cohort: Cases, one at least; masks are not needed.
        codes: (N,) their groups; negative ones are in none.
        settings: What to do.
        progress: Whether to show progress bars.

    Raises:
        HostError: The host returned something that is not a number.
    """
    acting = [not isinstance(one, nn.Identity) for one in pipeline.segmentor.perturbers]
    runs = {"host": False, "perturbed": True} if any(acting) else {"host": False}
    found = {
        name: collect(
            pipeline,
            cohort,
            perturbed=perturbed,
            cells=settings.cells,
            seed=settings.seed,
            batch_size=settings.batch_size,
            progress=progress,
        )
        for name, perturbed in runs.items()
    }
    sites = len(acting)
    total = 3 * (sites + sum(acting)) + 2 * len(found) + 2 * (found["host"].truths is not None)
    with tqdm(
        desc="fitting probes", total=total, disable=None if progress else True, leave=False
    ) as bar:
        prober = _Prober(codes, cohort.clusters, settings, bar)
        masks = {name: prober.masks(one.masks) for name, one in found.items()}
        decided = masks.get("perturbed", masks["host"])
        surveyed = tuple(
            prober.site(found, site, masks=decided, acts=acts) for site, acts in enumerate(acting)
        )
        truths = found["host"].truths
        known = {} if truths is None else {"truth": prober.masks(truths)}
    return HostLeakage(sites=surveyed, masks={**masks, **known})


@dataclass(frozen=True)
class _Prober:
    """What is the same for all probes of one survey."""

    codes: Codes
    clusters: NDArray[Any]
    settings: SurveySettings
    bar: "tqdm[Any]"

    def site(
        self, found: Mapping[str, Collected], site: int, *, masks: MaskLeakage, acts: bool
    ) -> SiteLeakage:
        """Probe one site before and, where a perturber acts, after it."""
        host = self._latent(found["host"], site)
        if not acts:
            return SiteLeakage(host=host, beyond_mask=_paired(host.strongest, masks.strongest))
        perturbed = self._latent(found["perturbed"], site)
        changes = {
            "linear": _paired(perturbed.linear, host.linear),
            "mlp": _paired(perturbed.mlp, host.mlp),
        }
        return SiteLeakage(
            host=host,
            perturbed=perturbed,
            change={name: one for name, one in changes.items() if one is not None},
            beyond_mask=_paired(perturbed.strongest, masks.strongest),
        )

    def masks(self, features: Floats) -> MaskLeakage:
        """Probe masks by what they give away."""
        return MaskLeakage(
            linear=self._probe(features, self.codes, self.clusters, "linear"),
            mlp=self._probe(features, self.codes, self.clusters, "mlp"),
        )

    def _latent(self, found: Collected, site: int) -> LatentLeakage:
        pooled, cells = found.pooled[site], found.cells[site]
        codes, clusters = self.codes[cells.cases], self.clusters[cells.cases]
        return LatentLeakage(
            linear=self._probe(pooled, self.codes, self.clusters, "linear"),
            mlp=self._probe(pooled, self.codes, self.clusters, "mlp"),
            cells=self._probe(cells.values, codes, clusters, "linear"),
        )

    def _probe(self, features: Floats, codes: Codes, clusters: NDArray[Any], kind: str) -> Leakage:
        found = probe(
            features,
            codes,
            clusters,
            kind=kind,
            folds=self.settings.folds,
            seed=self.settings.seed,
            confidence=self.settings.confidence,
        )
        self.bar.update()
        return found


def _strongest(linear: Leakage, mlp: Leakage) -> Leakage:
    return mlp if mlp.known and (not linear.known or mlp.auc > linear.auc) else linear


def _paired(after: Leakage, before: Leakage) -> AucChange | None:
    if after.detail is None or before.detail is None:
        return None
    return auc_change(after.detail, before.detail)
