"""The site advisor: what each site of a host gives away, what it matters, and what follows."""

from collections.abc import Iterator, Sequence

import numpy as np

from apple_seg.audit.sites.advice import advise
from apple_seg.audit.sites.collecting import Codes, evenly
from apple_seg.audit.sites.findings import SiteFinding, SiteSurvey
from apple_seg.audit.sites.influence import SiteInfluence, survey_influence
from apple_seg.audit.sites.leakage import HostLeakage, survey_leakage
from apple_seg.audit.sites.settings import DEFAULTS, SurveySettings
from apple_seg.data import UNKNOWN, Cohort, Groups
from apple_seg.data.cohort import MASK
from apple_seg.errors import HostError
from apple_seg.host import Pipeline


def survey(
    pipeline: Pipeline,
    cohort: Cohort,
    groups: Groups,
    *,
    settings: SurveySettings = DEFAULTS,
    shares: Sequence[float] | None = None,
    progress: bool = True,
) -> SiteSurvey:
    """Say of every site of a wrapped host what it gives away, what it matters, and what follows.

    Perturbers that are installed are probed too; all is as it was afterwards.

    Args:
        pipeline: A wrapped host as it is deployed.
        cohort: Cases with attributes, and with masks if Dice lost is to be known. Not those of the
            audit: something will be chosen by this.
        groups: Declared before anything is measured.
        settings: What to do.
        shares: Size of a new perturber at each site, as a share of the host's parameters.
        progress: Whether to show progress bars.

    Raises:
        GroupError: A case fits no declared group.
        HostError: The perturbers are disabled, or the host returned what is no number.
    """
    segmentor = pipeline.segmentor
    if not segmentor.enabled:
        raise HostError("a survey looks at perturbers too; leave disabled() first")
    codes, rows = groups.codes(cohort.table), cohort.table.index.to_numpy()
    known = evenly(np.flatnonzero(codes != UNKNOWN), settings.cases)
    leakage = None
    if len(known):
        chosen = cohort.take(rows[known])
        leakage = survey_leakage(
            pipeline, chosen, codes[known], settings=settings, progress=progress
        )
    annotated = cohort.take(rows[(cohort.table[MASK] != "").to_numpy(dtype=bool)])
    tried = annotated if len(annotated) else cohort
    influence = survey_influence(pipeline, tried, groups, settings=settings, progress=progress)
    findings = []
    for place, (site, shape) in enumerate(zip(segmentor.sites, segmentor.shapes, strict=True)):
        given_away = leakage.sites[place] if leakage else None
        finding = SiteFinding(
            site=str(site),
            channels=shape.channels,
            cells=shape.cells,
            clean=site.clean,
            perturber_share=None if shares is None else shares[place],
            leakage=given_away,
            influence=influence[place],
            advice=advise(given_away, influence[place]),
        )
        findings.append(finding)
    return SiteSurvey(
        attribute=groups.attribute,
        labels=groups.labels,
        settings=settings,
        sites=tuple(findings),
        leakage=leakage,
        notes=(
            *_leakage_notes(leakage, codes[known], codes, groups),
            *_influence_notes(influence, len(annotated), len(cohort)),
        ),
    )


def _leakage_notes(
    leakage: HostLeakage | None, probed: Codes, codes: Codes, groups: Groups
) -> Iterator[str]:
    """Say what the probes rest on."""
    if leakage is None:
        yield "Nothing was probed."
        return
    counts = ", ".join(
        f"{int((probed == code).sum())} of {label}" for code, label in enumerate(groups.labels)
    )
    some = leakage.masks["host"].linear
    yield (
        f"Probes: {len(probed)} of {len(codes)} cases ({counts}); "
        f"{int((codes == UNKNOWN).sum())} are of unknown group."
    )
    if some.reason:
        yield f"No probe: {some.reason}."
    elif some.left_out:
        left_out = ", ".join(groups.labels[code] for code in some.left_out)
        yield f"Left out of the probes, having too few patients to be held out: {left_out}."
    for site in leakage.sites:
        for found in (site.host.linear, site.host.cells):
            if found.not_converged:
                yield f"A linear probe had not converged in {found.not_converged} folds."


def _influence_notes(
    influence: Sequence[SiteInfluence | None], annotated: int, cases: int
) -> Iterator[str]:
    """Say what the influence rests on."""
    measured = [one for one in influence if one is not None]
    if measured:
        moved = measured[0].erased.mask_moved
        counts = ", ".join(f"{one.n_cases} of {name}" for name, one in moved.by_group.items())
        yield f"Influence: {moved.overall.n_cases} cases ({counts})."
    if len(measured) < len(influence):
        yield "A latent of a single cell cannot be erased, since its mean is itself."
    if not annotated:
        yield "No case has a mask: what a site costs in Dice is not known."
    elif annotated < cases:
        yield f"{cases - annotated} of {cases} cases have no mask; influence is of the others."
