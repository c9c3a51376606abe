"""How much each site matters to the masks: what erasing its latent costs."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from apple_seg.data import Cohort
from apple_seg.host import Pipeline
from apple_seg.measure import score

_CASES = 64


@dataclass(frozen=True)
class SiteReport:
    """One site, as `survey` found it."""

    site: str
    channels: int
    cells: tuple[int, ...]
    clean: tuple[str, ...]
    """Submodules that go on reading the latent as it was."""

    influence: float
    """Mean Dice lost when the latent is replaced by its mean over cells; near 0, the mask does
    not listen, and a perturber here cannot help."""


class _Erase(nn.Module):
    """Replace each channel of a latent by its mean over cells."""

    def forward(self, latent: Tensor) -> Tensor:
        """Map (N, C, *cells) to the same shape."""
        cells = tuple(range(2, latent.ndim))
        return latent.mean(cells, keepdim=True).expand_as(latent).clone()


def survey(pipeline: Pipeline, cohort: Cohort) -> list[SiteReport]:
    """Report every site of a wrapped host; the perturbers that it had are back afterwards.

    Args:
        pipeline: A wrapped host as it is deployed.
        cohort: Annotated cases; up to 64 are used, evenly spaced.
    """
    segmentor = pipeline.segmentor
    rows = cohort.table.index.to_numpy()
    chosen = cohort.take(rows[np.linspace(0, len(rows) - 1, min(_CASES, len(rows)), dtype=int)])
    installed = list(segmentor.perturbers)
    identities: list[nn.Module] = [nn.Identity() for _ in installed]
    reports = []
    try:
        segmentor.install(identities)
        deployed = _mean_dice(pipeline, chosen)
        for place, (site, shape) in enumerate(zip(segmentor.sites, segmentor.shapes, strict=True)):
            segmentor.install([*identities[:place], _Erase(), *identities[place + 1 :]])
            lost = deployed - _mean_dice(pipeline, chosen)
            report = SiteReport(str(site), shape.channels, shape.cells, site.clean, lost)
            reports.append(report)
    finally:
        segmentor.install(installed)
    return reports


def _mean_dice(pipeline: Pipeline, cohort: Cohort) -> float:
    table = score(pipeline, cohort, metrics=("dice",), progress=False)
    return float(table["dice"].mean())
