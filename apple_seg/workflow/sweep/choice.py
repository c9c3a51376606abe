"""Which combination a sweep chooses: its rule, applied to means over seeds on validation."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from apple_seg.files import plain
from apple_seg.perturb import RULES, Candidate
from apple_seg.workflow.sweep.combinations import Plan
from apple_seg.workflow.sweep.results import Tried, figures, mean_of, smallest_gain


@dataclass(frozen=True, eq=False)
class Ranked:
    """The host as deployed, or a combination, in its place by the rule."""

    mean: Candidate
    """Over seeds."""

    tried: Tried | None
    """None: the host as deployed."""

    gain: float
    """Of mean Dice, where it is smallest: in a group, or overall."""

    costly: bool
    """Whether that is a loss of more than the margin."""

    front: bool
    """Whether nothing else has both a better worst group and a smaller difference."""

    @property
    def label(self) -> str:
        """What it is called in words."""
        return "the host as deployed" if self.tried is None else self.tried.label


@dataclass(frozen=True, eq=False)
class Sweep:
    """What a sweep found; see `ranking` and `chosen`."""

    plan: Plan
    tried: tuple[Tried, ...]
    """In the order of the plan."""

    @property
    def rule(self) -> str:
        """The name of the rule that chooses."""
        return self.plan.base.fit.selection or self.plan.base.method.selection

    @property
    def margin(self) -> float:
        """What no group may lose by it."""
        return self.plan.base.fit.margin

    @property
    def finished(self) -> tuple[Tried, ...]:
        """Those of which every seed ended."""
        return tuple(one for one in self.tried if not one.failed)

    @cached_property
    def host(self) -> Candidate:
        """The host as deployed: the mean of the identity in all fits, which all validated it."""
        return mean_of([fit.host for one in self.finished for fit in one.fits], 0)

    @cached_property
    def ranking(self) -> tuple[Ranked, ...]:
        """The host and all that ended, best first.

        The rule picks one, then one of the others, and so on, until it picks the host; what it
        ranks below the host follows by worst-group Dice. Combinations of which all seeds kept the
        identity are the host, and come last.
        """
        means = {place: one.mean(place) for place, one in enumerate(self.finished, 1)}
        left = [place for place in means if self.finished[place - 1].changes]
        order = []
        while (best := self._pick([means[place] for place in left])).epoch:
            order.append(best.epoch)
            left.remove(best.epoch)
        below = sorted(left, key=lambda place: (-means[place].group_min, -means[place].overall))
        same = [place for place, one in enumerate(self.finished, 1) if not one.changes]
        every = {0: self.host, **means}
        front = _front([every[place] for place in (0, *order, *below)])
        return tuple(
            self._ranked(every[place], front=place in front) for place in (*order, 0, *below, *same)
        )

    def _ranked(self, mean: Candidate, *, front: bool) -> Ranked:
        tried = self.finished[mean.epoch - 1] if mean.epoch else None
        gain = smallest_gain(self.host, mean)
        return Ranked(mean, tried, gain, gain < -self.margin, front)

    def _pick(self, candidates: Sequence[Candidate]) -> Candidate:
        return RULES[self.rule]([self.host, *candidates], self.margin)

    @property
    def chosen(self) -> Tried | None:
        """The combination that the rule prefers; None where it prefers the host as deployed."""
        return self.ranking[0].tried

    @property
    def shipped(self) -> Path | None:
        """The folder of the fit that is shipped: the first seed's, whatever the others found."""
        return None if self.chosen is None else self.chosen.fits[0].folder

    @property
    def noise(self) -> float:
        """Standard deviation of worst-group Dice over seeds, pooled; NaN with one seed."""
        groups = [[fit.selected.group_min for fit in one.fits] for one in self.finished]
        if not groups or len(groups[0]) < 2:
            return math.nan
        return math.sqrt(statistics.mean(statistics.variance(group) for group in groups))

    @property
    def flattered(self) -> float:
        """How far the best of so many would stand above their mean by the chance of training alone.

        The expected largest of k normal means over seeds (Blom 1958: the quantile at
        (k - 3/8) / (k + 1/4)).
        """
        k, seeds = len(self.finished), len(self.plan.seeds)
        largest = statistics.NormalDist().inv_cdf((k - 0.375) / (k + 0.25))
        return self.noise / math.sqrt(seeds) * largest

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        output, chosen = self.plan.base.output, self.chosen
        found: dict[str, Any] = plain(
            {
                "rule": self.rule,
                "margin": self.margin,
                "seeds": self.plan.seeds,
                "chosen": None if chosen is None else chosen.combination.settings,
                "shipped_seed": None if chosen is None else chosen.fits[0].seed,
                "identity": figures(self.host),
                "seed_sd_of_worst": self.noise,
                "flattered_by": self.flattered,
                "ranking": [
                    {
                        "settings": one.tried and one.tried.combination.settings,
                        **figures(one.mean),
                        "smallest_gain": one.gain,
                        "front": one.front,
                    }
                    for one in self.ranking
                ],
                "combinations": [one.to_dict(output) for one in self.tried],
                "notes": self.plan.notes,
            }
        )
        return found


def _front(candidates: Sequence[Candidate]) -> set[int]:
    """Return the places of those that no other one beats in one figure and equals in the other."""
    points = [(one.group_min, -one.difference) for one in candidates]
    return {
        one.epoch
        for one, point in zip(candidates, points, strict=True)
        if not any(
            other != point and other[0] >= point[0] and other[1] >= point[1] for other in points
        )
    }
