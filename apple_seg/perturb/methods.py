"""The named recipes: which objective, on which perturbers, at which sites."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from apple_seg.errors import ConfigError
from apple_seg.host import HostSpec, LatentShape, Site
from apple_seg.perturb.discriminator import Discriminator
from apple_seg.perturb.objectives import (
    AdversarialObjective,
    Objective,
    SegmentationObjective,
    SumOfObjectives,
)
from apple_seg.perturb.perturbers import PERTURBERS, build_perturber

_STRICT = {"extra": "forbid"}  # for pydantic, where the experiment file is read


@dataclass(frozen=True, kw_only=True)
class MethodSpec:
    """The `[method]` table."""

    __pydantic_config__ = _STRICT

    name: str = "apple"
    """"apple", or its control "segmentation-only": same perturbers, no fairness term."""

    sites: str | tuple[Site, ...] = "bottleneck"
    """"bottleneck", "skips", "all", or sites by path."""

    perturber: str = "residual"
    """A name in `PERTURBERS`."""

    fairness_weight: float = 0.1
    """Weight of the adversarial term beside the segmentation loss (not published)."""

    entropy_weight: float = 0.1
    """Weight of the entropy inside the adversarial term (not published; FAAP's code has 0.25)."""

    discriminator_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            raise ConfigError(f"no method called {self.name!r}; known are: {', '.join(METHODS)}")
        if self.perturber not in PERTURBERS:
            known = ", ".join(PERTURBERS)
            raise ConfigError(f"no perturber called {self.perturber!r}; known are: {known}")
        rates = (self.fairness_weight, self.entropy_weight, self.discriminator_learning_rate)
        if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
            raise ConfigError(f"weights and rates are finite and not negative, got {rates}")

    def __str__(self) -> str:
        sites = self.sites if isinstance(self.sites, str) else "+".join(map(str, self.sites))
        return f"{self.name} @ {sites}"


class Recipe(NamedTuple):
    """What a trainer needs of a method."""

    perturbers: list[nn.Module]
    """A site each; new ones are the identity."""

    objective: Objective

    needs_groups: bool
    """Whether it trains nothing where all cases are of one group."""


class Problem(NamedTuple):
    """What a method is built for."""

    shapes: Sequence[LatentShape]
    num_groups: int
    host: HostSpec
    classes: Sequence[str]


def build_recipe(method: MethodSpec, problem: Problem) -> Recipe:
    """Make new perturbers and the objective that trains them."""
    perturbers = [
        build_perturber(
            {"name": method.perturber, "channels": shape.channels, "cells": shape.cells}
        )
        for shape in problem.shapes
    ]
    objectives = METHODS[method.name](method, problem)
    return Recipe(perturbers, SumOfObjectives(objectives), len(objectives) > 1)


def _segmentation_only(_method: MethodSpec, problem: Problem) -> list[Objective]:
    """Mere fine-tuning of the perturbers: what does the fairness term add to it?"""
    output = problem.host.output
    objective = SegmentationObjective(
        activation=output.activation,
        channels=problem.host.channel_of(problem.classes),
        background=output.background,
    )
    return [objective]


def _apple(method: MethodSpec, problem: Problem) -> list[Objective]:
    """Xu et al., arXiv 2403.05114: segmentation loss + weight * fairness loss."""
    channels = [shape.channels for shape in problem.shapes]
    adversary = AdversarialObjective(
        Discriminator(channels, problem.num_groups),
        weight=method.fairness_weight,
        entropy_weight=method.entropy_weight,
        learning_rate=method.discriminator_learning_rate,
    )
    return [*_segmentation_only(method, problem), adversary]


METHODS: Mapping[str, Callable[[MethodSpec, Problem], list[Objective]]] = {
    "apple": _apple,
    "segmentation-only": _segmentation_only,
}
