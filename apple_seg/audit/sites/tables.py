"""The tables of a site survey, as text, and how a terminal shows them."""

from rich.console import Group, RenderableType
from rich.text import Text

from apple_seg.audit.inference.figures import Disaggregated
from apple_seg.audit.printed import shown
from apple_seg.audit.sites.findings import SiteFinding, SiteSurvey
from apple_seg.audit.sites.leakage import LatentLeakage
from apple_seg.audit.tables import Form, Table
from apple_seg.measure.probes import CONSTANT, Leakage

_FORM = Form(digits=3)


def site_tables(found: SiteSurvey) -> list[Table]:
    """Return a table of the sites with their advice, one of leakage and one of influence.

    Where nothing was measured there is none. Rows go as the sites do; see `SiteSurvey.by_promise`.
    """
    return [_sites(found), *_leakage(found), *_influence(found)]


def survey_text(found: SiteSurvey) -> RenderableType:
    """Lay out a survey, the most promising site first."""
    found = found.by_promise
    notes = Text("\n".join(f"- {note}" for note in found.notes), style="dim")
    return Group(*map(shown, site_tables(found)), notes)


def _sites(found: SiteSurvey) -> Table:
    return Table(
        f"Sites, the most promising first, and what to make of them ({found.attribute})",
        ("site", "channels", "cells", "perturber / host", "advice"),
        [(one.site, *_size(one), one.advice.sentence) for one in found.sites],
    )


def _leakage(found: SiteSurvey) -> list[Table]:
    if found.leakage is None:
        return []
    rows: list[tuple[str, ...]] = []
    for one in found.sites:
        if one.leakage is not None:
            rows.append((one.site, *_probed(one.leakage.host)))
            if one.leakage.perturbed is not None:
                rows.append(("  perturbed", *_probed(one.leakage.perturbed)))
    names = {"host": "masks of the host", "perturbed": "masks of the perturbed host"}
    rows += [
        (names.get(name, "true masks"), _auc(one.linear), _auc(one.mlp), "")
        for name, one in found.leakage.masks.items()
    ]
    return [
        Table(
            f"How well {found.attribute} can be read (AUC of held-out probes; 0.5 is chance)",
            ("site", "linear", "MLP", "single cells, linear"),
            rows,
        )
    ]


def _probed(latent: LatentLeakage) -> tuple[str, str, str]:
    return _auc(latent.linear), _auc(latent.mlp), _auc(latent.cells)


def _auc(found: Leakage) -> str:
    if found.known:
        return f"{found.auc:.2f} [{found.low:.2f}, {found.high:.2f}]"
    return "constant" if found.reason == CONSTANT else "too few cases"


def _influence(found: SiteSurvey) -> list[Table]:
    rows: list[tuple[str, ...]] = [
        (
            f"{one.site}, {name}",
            _FORM.interval(effect.mask_moved.overall),
            _FORM.interval(effect.dice_lost.overall),
            _most(effect.dice_lost),
        )
        for one in found.sites
        if one.influence is not None
        for name, effect in one.influence.effects.items()
    ]
    title = "What erasing the latent at a site, or disturbing it by noise, does to the masks"
    columns = ("site", "mask moved (1 - Dice)", "Dice lost", "most, in one group")
    return [Table(title, columns, rows)] if rows else []


def _size(one: SiteFinding) -> tuple[str, str, str]:
    share = "-" if one.perturber_share is None else f"{one.perturber_share:.0%}"
    return str(one.channels), " x ".join(map(str, one.cells)), share


def _most(lost: Disaggregated) -> str:
    """Write the loss of the group that loses most."""
    known = {name: one for name, one in lost.by_group.items() if one.n_cases}
    if not known:
        return "-"
    name = max(known, key=lambda label: known[label].value)
    return f"{name}: {_FORM.interval(known[name])}"
