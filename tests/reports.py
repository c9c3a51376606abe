"""Audits that have everything a report can show, and pages taken apart again."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd

from apple_seg.audit import AuditSettings, Picture, audit_scores, compare_scores
from apple_seg.audit.gallery import draw
from apple_seg.audit.inference.figures import Design, disaggregate
from apple_seg.audit.sites.advice import advise
from apple_seg.audit.sites.findings import SiteFinding, SiteSurvey
from apple_seg.audit.sites.influence import Effect, SiteInfluence
from apple_seg.audit.sites.leakage import HostLeakage, LatentLeakage, MaskLeakage, SiteLeakage
from apple_seg.audit.sites.settings import SurveySettings
from apple_seg.data import Case, Groups
from apple_seg.measure.probes import Leakage

AGE = Groups(by={"age": [40, 60]}, reference="age < 40")
AWKWARD = Groups(by={"<i>tag</i>|pipe": ["f $1$", "m & `co`"]}, reference="<i>tag</i>|pipe = f $1$")
SETTINGS = AuditSettings(
    metrics=("dice", "iou", "hd95", "volume_error"),
    resamples=50,
    permutations=50,
    covariates=("site",),
)
CAVEATS = ("Clusters are <lesions> & not patients.",)


def table_of(cases=240, seed=0):
    """Return a row a case: three age groups, some unknown, two sites, an awkward column."""
    rng = np.random.default_rng(seed)
    age = rng.integers(20, 85, cases).astype(str)
    age[:6] = "unknown"
    return pd.DataFrame(
        {
            "case": [f"c{place:03}" for place in range(cases)],
            "age": age,
            "site": rng.choice(["north", "south"], cases),
            "<i>tag</i>|pipe": rng.choice(["f $1$", "m & `co`"], cases),
        }
    )


def scores_of(table, *, shift=0.0, seed=1, empties=True):
    """Return scores of two classes, worse for the old, with some empty masks."""
    rng = np.random.default_rng(seed)
    age = pd.to_numeric(table["age"], errors="coerce").fillna(50).to_numpy()
    rows = []
    for name in ("lesion", "rim"):
        noise = np.random.default_rng(len(name)).normal(0, 0.05, len(table))
        dice = np.clip(0.95 - (age - 20) / 400 + noise + shift, 0.05, 0.99)
        size = rng.integers(50, 900, len(table))
        some = pd.DataFrame({"case": table["case"], "cluster": [f"p{i // 2}" for i in table.index]})
        some = some.assign(**{"class": name, "truth_size": size, "predicted_size": size + 3})
        some = some.assign(unit="px", dice=dice, iou=dice / (2 - dice), hd95=20 * (1 - dice))
        rows.append(some.assign(volume_error=rng.normal(0.02, 0.1, len(table))))
    scores = pd.concat(rows, ignore_index=True)
    if empties:
        scores.loc[[10, 11], "truth_size"] = 0  # both empty, and a false positive
        scores.loc[[10, 12, 13], "predicted_size"] = 0  # and two misses
        scores.loc[10, ["dice", "iou"]] = np.nan
        scores.loc[[11, 12, 13], ["dice", "iou"]] = 0.0
        scores.loc[[10, 11, 12, 13], "hd95"] = np.nan
        scores.loc[[10, 11], "volume_error"] = np.nan
        scores.loc[[12, 13], "volume_error"] = -1.0
    return scores


def rich_comparison(cases=240, *, empties=True, shift=0.004):
    """Return a comparison that fills every section of a report."""
    table = table_of(cases)
    found = compare_scores(
        scores_of(table, empties=empties),
        scores_of(table, empties=empties, shift=shift),
        table,
        AGE,
        others=[AWKWARD],
        settings=SETTINGS,
        caveats=CAVEATS,
    )
    kinds = ("worst", "most gained", "most lost")
    return replace(found, pictures=pictures(found, kinds))


def rich_audit(cases=240):
    """Return an audit that fills every section of a report."""
    table = table_of(cases)
    scores = scores_of(table)
    found = audit_scores(scores, table, AGE, others=[AWKWARD], settings=SETTINGS, caveats=CAVEATS)
    return replace(found, pictures=pictures(found, ("worst",)))


def pictures(found, kinds):
    """Return drawings of random images, two a kind and group."""
    rng = np.random.default_rng(0)
    masks = {name: np.zeros((1, 24, 32), dtype=bool) for name in ("host", "perturbed")}
    masks["host"][:, 4:14, 6:20] = True
    masks["perturbed"][:, 6:16, 8:22] = True
    case = Case("x", "p", rng.random((3, 24, 32), dtype=np.float32), masks["host"], None, {})
    png = draw(case, masks)
    return tuple(
        Picture(case=f"{group} {kind} {nth}", group=group, kind=kind, caption="Dice 0.5", png=png)
        for group in found.by_group
        for kind in kinds
        for nth in range(2)
    )


def site_survey():
    """Return a survey of two sites, the second without a perturber's doing."""
    design = Design(
        codes=np.arange(30) % 3,
        clusters=np.arange(30).astype(str),
        labels=AGE.labels,
        reference=0,
        confidence=0.95,
        resamples=0,
        seed=0,
    )
    lost = disaggregate(np.linspace(0.0, 0.2, 30), design)
    effect = Effect(dice_lost=lost, mask_moved=lost)
    influence = SiteInfluence(erased=effect, disturbed=effect)
    latents = [LatentLeakage(linear=_auc(0.8), mlp=_auc(0.75), cells=_auc(0.6)) for _ in "ab"]
    sites = tuple(
        SiteLeakage(host=latent, perturbed=latent if place == 0 else None)
        for place, latent in enumerate(latents)
    )
    findings = tuple(
        SiteFinding(
            site=f"encoder.blocks.{place}.attention.projection.output.norm",
            channels=8,
            cells=(4, 4),
            clean=(),
            perturber_share=0.1,
            leakage=one,
            influence=influence,
            advice=advise(one, influence),
        )
        for place, one in enumerate(sites)
    )
    masks = {"host": MaskLeakage(linear=_auc(0.65), mlp=_auc(0.6))}
    return SiteSurvey(
        attribute="age",
        labels=AGE.labels,
        settings=SurveySettings(),
        sites=findings,
        leakage=HostLeakage(sites=sites, masks=masks),
        notes=("Probes: 30 of 30 cases.",),
    )


def _auc(value):
    return Leakage(
        kind="linear",
        auc=value,
        low=value - 0.1,
        high=value + 0.1,
        confidence=0.95,
        n_cases=30,
        n_clusters=30,
    )


VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """A page's tags and text; every tag has to be closed by its own."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.tags, self.text = [], [], [], []
        self.ids, self.headings = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        named = dict(attrs)
        self.links += [
            named[name] for name in ("src", "href", "data", "xlink:href") if name in named
        ]
        self.ids += [named["id"]] if "id" in named else []
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("h1", "h2", "h3", "h4", "h5", "h6"):
            self.headings.append((int(tag[1]), ""))

    def handle_endtag(self, tag):
        assert tag not in VOID
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text.append(data)
        if self.headings and self.open and self.open[-1] == f"h{self.headings[-1][0]}":
            level, text = self.headings.pop()
            self.headings.append((level, text + data))

    @property
    def said(self):
        """All words, in their order."""
        return " ".join(" ".join(self.text).split())


def parsed(text):
    """Take a page apart, and insist that it is well formed."""
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page
