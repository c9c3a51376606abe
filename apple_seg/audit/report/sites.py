"""Where the attribute can be read, and where the masks listen: site by site."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from apple_seg.audit.report.bars import Bar, Reference, bars
from apple_seg.audit.report.canvas import LOOKS
from apple_seg.audit.report.document import Block, Bullets, Plot, Plots, Prose, Section, tabled
from apple_seg.audit.sites.findings import SiteSurvey
from apple_seg.audit.sites.leakage import SiteLeakage
from apple_seg.audit.sites.tables import site_tables
from apple_seg.audit.tables import Form

_FORM = Form(digits=2)

_LOOKS = tuple(
    look
    for whose in ("host", "perturbed")
    for look in (LOOKS[whose], LOOKS[whose]._replace(hatch="////"))
)
"""Linear and MLP probe of the host's latents, then of the perturbed ones."""


def sites(survey: SiteSurvey) -> Section:
    """Return what each site gives away of the attribute, and what it matters to the masks.

    The most promising site is number 1.
    """
    survey = survey.by_promise
    plots = [*_leakage(survey), *_influence(survey)]
    blocks: list[Block] = [Prose(_SAID.format(attribute=survey.attribute))]
    if plots:
        blocks.append(Plots("Leakage and influence", tuple(plots), _CAPTION))
    # Paths of modules are long: they stand once, with the numbers that the rest goes by.
    first, rest = site_tables(_named(survey, "{place}: {site}"))[0], _named(survey, "site {place}")
    blocks += tabled([first, *site_tables(rest)[1:]])
    if survey.notes:
        blocks.append(Bullets(survey.notes))
    return Section(name="sites", title="Leakage and influence, site by site", blocks=tuple(blocks))


def _named(survey: SiteSurvey, form: str) -> SiteSurvey:
    """Return the survey with other names of its sites."""
    found = tuple(
        replace(one, site=form.format(place=place, site=one.site))
        for place, one in enumerate(survey.sites, start=1)
    )
    return replace(survey, sites=found)


_SAID = (
    "A site is a place inside the segmentor where a perturber can act. Leakage is how well "
    "{attribute} can be told from what flows there, by a classifier that was fitted afterwards on "
    "other cases: an AUC (the chance that of two cases of different groups the right one is told) "
    "of 0.5 is guessing, 1 is certainty. Influence is how far masks move when a site is erased or "
    "disturbed, and the Dice that this costs: where masks do not move they do not listen, and "
    "nothing is to be gained. That an attribute can be read is no harm by itself, and that it "
    "cannot is no proof that groups are served alike. Sites are numbered by their promise, which "
    "is what is read beyond guessing times what moves; those where either is ruled out come last."
)
_CAPTION = (
    "Bars begin at guessing (0.5), or at no loss (0); thin lines are intervals. The dashed line is "
    "what the host's own masks give away by their shape and place."
)


def _leakage(survey: SiteSurvey) -> list[Plot]:
    if survey.leakage is None:
        return []
    rows = {
        f"site {place}": dict(_probes(one.leakage))
        for place, one in enumerate(survey.sites, start=1)
        if one.leakage is not None
    }
    mask = survey.leakage.masks["host"].strongest
    reference = Reference(mask.auc, "what the host's masks give away") if mask.known else None
    title = f"How well {survey.attribute} can be read"
    drawn = partial(
        bars,
        rows,
        name="leakage",
        xlabel="AUC (0.5: guessing)",
        base=0.5,
        reference=reference,
        looks=_LOOKS,
    )
    return [Plot(title, drawn, _alt(rows))]


def _probes(leakage: SiteLeakage) -> Iterator[tuple[str, Bar]]:
    latents = {"host": leakage.host, "perturbed": leakage.perturbed}
    for whose, latent in latents.items():
        if latent is not None:
            for name, found in (("linear", latent.linear), ("MLP", latent.mlp)):
                yield f"{whose}, {name} probe", Bar(found.auc, found.low, found.high)


def _influence(survey: SiteSurvey) -> list[Plot]:
    rows = {
        f"site {place}": {
            label: Bar(found.value, found.low, found.high)
            for label, found in one.influence.erased.dice_lost.by_group.items()
        }
        for place, one in enumerate(survey.sites, start=1)
        if one.influence is not None
    }
    if not rows:
        return []
    drawn = partial(
        bars, rows, name="influence", xlabel="mean Dice lost when the site is erased", base=0
    )
    return [Plot("What erasing costs", drawn, _alt(rows))]


def _alt(rows: Mapping[str, Mapping[str, Bar]]) -> str:
    return "; ".join(
        f"{row}, {series}: {_FORM.number(bar.value)} {_FORM.range(bar.low, bar.high)}"
        for row, some in rows.items()
        for series, bar in some.items()
    )
