"""The named recipes: at which sites, with which perturbers, trained to do what."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from apple_seg.errors import ConfigError
from apple_seg.host import Site
from apple_seg.names import meant
from apple_seg.perturb.objectives import LOSSES, TERMS, WEIGHTINGS, Target
from apple_seg.perturb.parts import Part, check_part
from apple_seg.perturb.perturbers import PERTURBERS

Sites = str | tuple[Site, ...]
"""`"bottleneck"`, `"skips"`, `"all"`, or sites by path."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a method is made of."""

    sites: Sites = "all"
    perturber: Part = "lean"
    loss: Part = "dice-ce"
    weighting: Part = "equal"
    terms: Mapping[str, float | Mapping[str, Any]] = field(default_factory=dict)


METHODS: Mapping[str, Parts] = {
    # Xu et al., arXiv 2403.05114: segmentation loss + weight * fairness loss; no weight published.
    "apple": Parts(sites="bottleneck", perturber="residual", terms={"adversary": 0.1}),
    # Its control, and everybody's: mere fine-tuning of perturbers. What does the rest add to it?
    "segmentation-only": Parts(),
    # Each group counts alike, however few its cases.
    "balanced": Parts(weighting="balanced"),
    # Sagawa et al., arXiv 1911.08731: group DRO. Step and adjustment are ours.
    "worst-group": Parts(weighting="worst-group"),
    # FairSeg, ICLR 2024, arXiv 2311.02189, without the bug of its code; no gamma published.
    "febs": Parts(weighting="febs"),
    # Levy et al., arXiv 2010.05893: the tail of the losses. Needs no attribute.
    "cvar": Parts(weighting="cvar"),
    # After JTT, Liu et al., arXiv 2107.09044: what the host does worst. Needs no attribute.
    "hard-cases": Parts(weighting="hard-cases"),
    # Ours: the difference itself, squared. The gradient is 2 * gap * that of the group served
    # worse: at 10, a gap of 0.05 makes that group count once more.
    "gap": Parts(terms={"gap": 10.0}),
}


@dataclass(frozen=True, kw_only=True)
class MethodSpec:
    """The `[method]` table: a recipe by name, and what is to be other than the recipe has it.

    A part is a name, or a table with a name and its options: `perturber = "lean"`, or
    `perturber = { name = "lean", rank = 16 }`.
    """

    __pydantic_config__ = {"extra": "forbid"}  # where the experiment file is read

    name: str = "apple"
    """One of `METHODS`."""

    sites: Sites | None = None
    """"bottleneck", "skips", "all", or sites by path."""

    perturber: Part | None = None
    """One of `PERTURBERS`."""

    loss: Part | None = None
    """One of `LOSSES`: of each case, beside soft Dice."""

    weighting: Part | None = None
    """One of `WEIGHTINGS`: which cases and groups count how much."""

    terms: Mapping[str, float | Mapping[str, Any]] = field(default_factory=dict)
    """Further terms, each of `TERMS`, with its weight (0 takes the recipe's away), or a table with
    `weight` and options: `terms = { adversary = { weight = 0.1, entropy = 0.2 } }`."""

    target: Target = "masks"
    """"masks", or "host" where no true masks are had: perturbed masks are then to be as the host's
    own, and only further terms change anything."""

    numbers: tuple[str, ...] = ()
    """Columns that terms take as numbers (age in years), where they know how."""

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            known = ", ".join(METHODS)
            raise ConfigError(
                f"no method called {self.name!r}{meant(self.name, METHODS)}; known are: {known}"
            )
        parts = self.parts
        check_part("perturber", parts.perturber, PERTURBERS)
        check_part("loss", parts.loss, LOSSES)
        check_part("weighting", parts.weighting, WEIGHTINGS)
        for name, term in parts.terms.items():
            weight, options = weighed(term)
            check_part("term", {"name": name, **options}, TERMS)
            if not (isinstance(weight, int | float) and math.isfinite(weight) and weight >= 0):
                raise ConfigError(f"the weight of {name} is finite and not negative, got {weight}")

    def __str__(self) -> str:
        sites = self.parts.sites
        named = sites if isinstance(sites, str) else "+".join(map(str, sites))
        return f"{self.name} @ {named}"

    @cached_property
    def parts(self) -> Parts:
        """What the method is made of, with what is said here in place of the recipe's."""
        recipe = METHODS[self.name]
        said = {
            name: value
            for name in ("sites", "perturber", "loss", "weighting")
            if (value := getattr(self, name)) is not None
        }
        terms = {**recipe.terms, **self.terms}
        kept = {name: term for name, term in terms.items() if weighed(term)[0] != 0}
        return replace(recipe, **said, terms=kept)


def weighed(term: float | Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
    """Return the weight and the options of a term; a table without a weight has 1."""
    if isinstance(term, Mapping):
        options = dict(term)
        return options.pop("weight", 1.0), options
    return term, {}
