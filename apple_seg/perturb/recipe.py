"""A method made for a host: new perturbers, and the objective that trains them."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from apple_seg.host import HostSpec, LatentShape
from apple_seg.perturb.methods import MethodSpec, weighed
from apple_seg.perturb.objectives import (
    LOSSES,
    TERMS,
    WEIGHTINGS,
    Objective,
    SegmentationLoss,
)
from apple_seg.perturb.parts import make_part, name_and_options
from apple_seg.perturb.perturbers import build_perturber


class Recipe(NamedTuple):
    """What a trainer needs of a method."""

    perturbers: list[nn.Module]
    """A site each; new ones are the identity."""

    objective: Objective


class Problem(NamedTuple):
    """What a method is built for."""

    shapes: Sequence[LatentShape]
    counts: Sequence[Sequence[int]]
    """An attribute each: the cases that are fitted on, of each of its groups."""

    host: HostSpec
    classes: Sequence[str]


def build_recipe(method: MethodSpec, problem: Problem) -> Recipe:
    """Make new perturbers and the objective that trains them."""
    parts = method.parts
    name, options = name_and_options(parts.perturber)
    perturbers = [
        build_perturber({"name": name, "channels": shape.channels, "cells": shape.cells, **options})
        for shape in problem.shapes
    ]
    return Recipe(perturbers, _objective(method, problem))


def _objective(method: MethodSpec, problem: Problem) -> Objective:
    parts, output = method.parts, problem.host.output
    loss = SegmentationLoss(
        output.activation,
        tuple(problem.host.channel_of(problem.classes)),
        output.background,
        make_part(parts.loss, LOSSES),
    )
    channels = [shape.channels for shape in problem.shapes]
    sizes = [len(counts) for counts in problem.counts]
    terms = {}
    for name, term in parts.terms.items():
        weight, options = weighed(term)
        terms[name] = (
            weight,
            make_part({"name": name, **options}, TERMS, channels, sizes, len(method.numbers)),
        )
    every = [count for counts in problem.counts for count in counts]
    weighting = make_part(parts.weighting, WEIGHTINGS, every)
    return Objective(loss, weighting, terms, target=parts.target)
