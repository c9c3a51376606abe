"""What a survey found at each site of a host, for terminals, files and pictures."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from apple_seg.audit.sites.advice import BEYOND, CHANCE, FAINT, QUIET, Advice, promise
from apple_seg.audit.sites.influence import SiteInfluence
from apple_seg.audit.sites.leakage import HostLeakage, LatentLeakage, SiteLeakage
from apple_seg.audit.sites.settings import SurveySettings
from apple_seg.files import plain
from apple_seg.measure.probes import Leakage


@dataclass(frozen=True, kw_only=True)
class SiteFinding:
    """What is known of one site."""

    site: str
    channels: int
    cells: tuple[int, ...]
    clean: tuple[str, ...]
    """Submodules that go on reading the latent as it was."""

    perturber_share: float | None
    """Parameters of a new perturber here, as a share of the host's; None where not given."""

    leakage: SiteLeakage | None
    influence: SiteInfluence | None
    advice: Advice


@dataclass(frozen=True, kw_only=True)
class SiteSurvey:
    """Every site of a host, in the order in which they were found."""

    attribute: str
    labels: tuple[str, ...]
    settings: SurveySettings
    sites: tuple[SiteFinding, ...]
    leakage: HostLeakage | None
    """With what the masks give away; the sites have theirs each."""

    notes: tuple[str, ...]
    """What a reader must know."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values; `apple_seg.files.to_json` writes NaN as null."""
        masks = self.leakage.masks if self.leakage else {}
        return {
            "attribute": self.attribute,
            "groups": list(self.labels),
            "settings": plain(self.settings),
            "thresholds": {"chance": CHANCE, "faint": FAINT, "quiet": QUIET, "beyond": BEYOND},
            "sites": [_site_dict(one) for one in self.sites],
            "masks": {name: _probes_dict(one.linear, one.mlp) for name, one in masks.items()},
            "notes": list(self.notes),
        }

    @property
    def by_promise(self) -> "SiteSurvey":
        """The same with its sites in the order of `promise`, best first, for readers."""
        ordered = sorted(
            self.sites, key=lambda one: promise(one.leakage, one.influence), reverse=True
        )
        return replace(self, sites=tuple(ordered))


def _latents(leakage: SiteLeakage | None) -> Iterator[tuple[str, LatentLeakage]]:
    """Yield what was probed at a site, by whose latent it is."""
    if leakage is not None:
        yield "host", leakage.host
        if leakage.perturbed is not None:
            yield "perturbed", leakage.perturbed


def _probes_dict(linear: Leakage, mlp: Leakage) -> dict[str, Any]:
    return {"linear": linear.to_dict(), "mlp": mlp.to_dict()}


def _site_dict(found: SiteFinding) -> dict[str, Any]:
    leakage: dict[str, Any] = {
        whose: {**_probes_dict(latent.linear, latent.mlp), "cells": latent.cells.to_dict()}
        for whose, latent in _latents(found.leakage)
    }
    if found.leakage is not None:
        change, beyond = found.leakage.change, found.leakage.beyond_mask
        leakage["change"] = change and {name: one._asdict() for name, one in change.items()}
        leakage["beyond_mask"] = beyond and beyond._asdict()
    return {
        "site": found.site,
        "channels": found.channels,
        "cells": list(found.cells),
        "stays_clean": list(found.clean),
        "perturber_share": found.perturber_share,
        "leakage": leakage or None,
        "influence": plain(found.influence),
        "advice": plain(found.advice),
    }
