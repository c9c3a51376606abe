"""Every combination of the values that are varied, each a checked experiment."""

import hashlib
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from apple_seg.config import Experiment
from apple_seg.errors import ConfigError
from apple_seg.files import plain, to_json_line
from apple_seg.perturb import METHODS
from apple_seg.perturb.methods import weighed
from apple_seg.perturb.parts import name_and_options
from apple_seg.workflow.sweep.axes import read_axes, value_of


@dataclass(frozen=True, eq=False)
class Combination:
    """One value for each key that is varied."""

    varied: Mapping[str, str]
    """Key to value, as written."""

    experiment: Experiment

    @property
    def label(self) -> str:
        """What it is called in words, such as `adversary=0.1, sites=all`."""
        return ", ".join(map("=".join, self.short.items()))

    @property
    def short(self) -> dict[str, str]:
        """The same under the ends of the keys that suffice to tell them apart."""
        names = short_names(list(self.varied))
        return {names[key]: value for key, value in self.varied.items()}

    @property
    def settings(self) -> dict[str, Any]:
        """Key to value, as TOML reads it."""
        return {key: value_of(value) for key, value in self.varied.items()}

    @cached_property
    def folder(self) -> Path:
        """Where its fits are kept: named by what is fitted, however it was asked for."""
        method = self.experiment.method
        settings = {**asdict(self.experiment.fit), "seed": None}
        said = {"method": asdict(method), "settings": settings}
        return self.experiment.output / "sweep" / f"{_slug(str(method))}-{_digest(said)}"

    @property
    def records(self) -> Path:
        """Where the latents are kept, for all combinations that record the same."""
        experiment = self.experiment
        sites, fit = experiment.method.parts.sites, experiment.fit
        said = {"sites": sites, "views": fit.views, "prompts": fit.prompts}
        said |= {"target": experiment.method.parts.target}
        named = sites if isinstance(sites, str) else "named"
        root = experiment.replay.folder or experiment.output / "sweep" / "replay"
        return root / f"{_slug(named)}-{_digest(said)}"

    @property
    def does(self) -> str:
        """What is fitted, so that the same by another name or in another spelling is told."""
        method, fit = self.experiment.method, self.experiment.fit
        parts = method.parts
        named = (parts.perturber, parts.loss, parts.weighting)
        said = {
            "sites": parts.sites,
            "parts": [name_and_options(one) for one in named],
            "terms": {name: weighed(parts.terms[name]) for name in sorted(parts.terms)},
            "target": parts.target,
            "vote": parts.vote and len(fit.views) > 1,
            "numbers": method.numbers,
        }
        return to_json_line({**said, "fit": asdict(fit)})

    @property
    def added(self) -> list[str]:
        """Terms that the recipe of this name does not have."""
        method = self.experiment.method
        return [name for name in method.parts.terms if name not in METHODS[method.name].terms]


@dataclass(frozen=True, eq=False)
class Plan:
    """All that a sweep fits."""

    combinations: tuple[Combination, ...]
    seeds: tuple[int, ...]
    notes: tuple[str, ...] = ()
    """What was found while they were made."""

    @property
    def base(self) -> Experiment:
        """Host, cases and rule, which all combinations share."""
        return self.combinations[0].experiment

    @property
    def fits(self) -> int:
        """How many there are."""
        return len(self.combinations) * len(self.seeds)


def plan_sweep(
    read: Callable[[list[str]], Experiment],
    vary: Sequence[str],
    seeds: str,
    *,
    most: int,
) -> Plan:
    """Make every combination.

    Args:
        read: Reads the experiment file with these overrides, `table.key=value`.
        vary: `table.key=value,value`, each value as TOML writes it.
        seeds: Whole numbers, separated by commas.
        most: How many fits there may be.

    Raises:
        ConfigError: See `read_axes`; a combination is refused by what reads it; or there are too
            many.
    """
    axes = read_axes(vary)
    numbers = _seeds(seeds)
    each = [len(axis.values) for axis in axes]
    fits = len(numbers)
    for size in each:
        fits *= size
    if fits > most:
        counted = " x ".join(map(str, each))
        raise ConfigError(
            f"{counted} combinations with {len(numbers)} seeds each are {fits:,} fits, more than "
            f"{most:,}: vary less, or allow them with --max-fits {fits}. The best of so many also "
            "looks the better the more they are"
        )
    made = []
    for values in itertools.product(*(axis.values for axis in axes)):
        varied = dict(zip((axis.key for axis in axes), values, strict=True))
        made.append(Combination(varied, _read(read, varied)))
    first: dict[str, Combination] = {}
    for one in made:
        first.setdefault(one.does, one)
    kept = tuple(first.values())
    for one in kept:
        _check_rule(one.experiment)
    return Plan(kept, numbers, (*_same(made, first), *_controls(kept)))


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return the shortest end of each dotted key that no other one has.

    What is a name is called by what it names: `method.name` is `method`.
    """
    bare = {key: key.removesuffix(".name") for key in keys}
    names = {}
    for key, name in bare.items():
        parts = name.split(".")
        ends = [".".join(parts[-n:]) for n in range(1, len(parts))]
        others = [f".{other}" for one, other in bare.items() if one != key]
        alone = (end for end in ends if not any(one.endswith(f".{end}") for one in others))
        names[key] = next(alone, name)
    return names


def _read(read: Callable[[list[str]], Experiment], varied: Mapping[str, str]) -> Experiment:
    overrides = [f"{key}={value}" for key, value in varied.items()]
    try:
        return read(overrides)
    except ConfigError as error:
        raise ConfigError(f"with {', '.join(overrides)}: {error}") from error


def _check_rule(experiment: Experiment) -> None:
    if (experiment.fit.selection or experiment.method.selection) == "latest":
        raise ConfigError(
            "the rule 'latest' tells epochs apart, which follow each other, and not combinations, "
            "which do not: choose among them with --set fit.selection=worst-group, or make the "
            "fits one by one"
        )


def _seeds(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words) or len({*map(int, words)}) < len(words):
        raise ConfigError(f"--seeds are different whole numbers such as 0,1,2; got {text!r}")
    return tuple(map(int, words))


def _same(made: Sequence[Combination], first: Mapping[str, Combination]) -> list[str]:
    return [
        f"{one.label} is the same fit as {first[one.does].label}, and done once."
        for one in made
        if first[one.does] is not one
    ]


def _controls(kept: Sequence[Combination]) -> list[str]:
    """Say which recipes without terms got some: by its name, each would be taken for a control."""
    pairs = {
        (one.experiment.method.name, term)
        for one in kept
        for term in one.added
        if not METHODS[one.experiment.method.name].terms
    }
    return [
        f"{name!r} has no term {term!r} by itself, and has it here: it is no control of it. A "
        f"weight of 0 takes the term away."
        for name, term in sorted(pairs)
    ]


def _digest(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json_line(plain(said)).encode()).hexdigest()[:8]


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:60]
