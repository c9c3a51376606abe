"""What can be said: two answers, each defined in one sentence, with the numbers that decided.

How often they err: with alpha = 1 - confidence, each of the two answers gets alpha / 2, so that
of cohorts where nothing is there to be found at most a share of alpha is told of anything.

- `difference` makes A - 1 comparisons with the reference, each two-sided at alpha / 2 / (A - 1)
  (Bonferroni; Holm's method would say `present` for the same cohorts).
- `change` makes claims about the host's worst group, which may be any of A, and about the
  difference followed, which may be any of 2 (A - 1): each is one-sided at alpha / 2 / (3 A - 2),
  so the bound holds for both of the routes to `improved`, however the worst group was found.
- Where several attributes are audited together, alpha is divided by their number as well.
- That no other group lost as much as the margin must hold for all of them at once, so it takes no
  correction: one-sided at alpha / 2, the interval that is shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from apple_seg.audit.inference.figures import Disaggregated
from apple_seg.audit.inference.intervals import Estimate


class Difference(StrEnum):
    """Whether groups differ."""

    PRESENT = "present"
    NOT_SHOWN = "not shown"
    NOT_ENOUGH = "not enough cases"


class Change(StrEnum):
    """What the perturber did."""

    HARMED = "harmed"
    NOT_ENOUGH = "not enough cases"
    LEVELLED_DOWN = "levelled down"
    IMPROVED = "improved"
    NOT_DETECTED = "no detectable change"


_DIFFERENCES: Mapping[str, str] = {
    Difference.PRESENT: (
        "The interval of the reference minus some group, at a confidence that allows for the "
        "number of groups, answers and attributes, does not contain 0."
    ),
    Difference.NOT_SHOWN: (
        "No such interval excludes 0, and the displayed interval of a difference as large as the "
        "declared margin would have excluded 0 in 80 % of such cohorts."
    ),
    Difference.NOT_ENOUGH: (
        "No such interval excludes 0, but for some group a difference as large as the declared "
        "margin would have been missed in more than 20 % of such cohorts."
    ),
}

_CHANGES: Mapping[str, str] = {
    Change.HARMED: (
        "Some group, of any attribute that is audited, is worse by more than the declared margin, "
        "with an interval clear of the margin; such a harm is said however few the cases are."
    ),
    Change.NOT_ENOUGH: (
        "No harm is shown, but in some group the smallest change that its displayed interval "
        "would show in 80 % of such cohorts is larger than the declared margin."
    ),
    Change.LEVELLED_DOWN: (
        "The difference fell, with an interval clear of 0, and what the better group lost is the "
        "larger part of the fall."
    ),
    Change.IMPROVED: (
        "The host's worst group went up or its difference went down, with an interval clear of "
        "0, and no other group can have lost as much as the declared margin."
    ),
    Change.NOT_DETECTED: (
        "No harm, levelling down or improvement is shown, though the displayed interval of a "
        "group's change as large as the declared margin would have excluded 0 in 80 % of such "
        "cohorts."
    ),
}

DEFINITIONS: Mapping[str, Mapping[str, str]] = {"difference": _DIFFERENCES, "change": _CHANGES}
"""By question, since both know `not enough cases`. Of each the first that holds, in this order:
`harmed` comes before `not enough cases`, so that a harm that is shown is not hidden."""


# Detectable is what one interval would show at the displayed confidence, the usual meaning;
# the claims above allow for several, and so miss more.
_ANSWERS = len((Difference, Change))


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """An answer and why."""

    answer: Difference | Change
    reasons: tuple[str, ...]
    """The numbers that decided."""

    @property
    def definition(self) -> str:
        """What the answer means, in one sentence."""
        return DEFINITIONS[type(self.answer).__name__.lower()][self.answer]


@dataclass(frozen=True, kw_only=True)
class Followed:
    """The difference that a change is judged by, named by the host before the change is seen.

    It is the reference minus the host's worst group; where the reference itself is the worst,
    the host's best group minus the reference.
    """

    better: str
    worse: str
    host: Estimate
    perturbed: Estimate
    change: Estimate


def judge_difference(figures: Disaggregated, *, margin: float, attributes: int = 1) -> Judgement:
    """Say whether groups differ.

    Args:
        figures: Of the host.
        margin: The difference that these cases should be able to show.
        attributes: How many are audited together.
    """
    differences = figures.difference
    decisive = {
        label: found.at(1 - (1 - found.confidence) / _ANSWERS / len(differences) / attributes)
        for label, found in differences.items()
    }
    shown = {label: found for label, found in decisive.items() if found.excludes_zero}
    if shown:
        return Judgement(answer=Difference.PRESENT, reasons=_say("reference minus", shown))
    reasons = _say("reference minus", decisive)
    blind = {
        label: found
        for label, found in differences.items()
        if not found.minimum_detectable <= margin
    }
    if blind or not differences:
        return Judgement(
            answer=Difference.NOT_ENOUGH,
            reasons=(*reasons, *_say_detectable("difference from", blind, margin)),
        )
    return Judgement(answer=Difference.NOT_SHOWN, reasons=reasons)


def judge_change(
    change: Disaggregated, followed: Followed | None, *, margin: float, attributes: int = 1
) -> Judgement:
    """Say what a perturber did to the same cases.

    Args:
        change: Perturbed minus host, paired.
        followed: The host's difference and what became of it; None where there are no two groups.
        margin: What a group may lose at most.
        attributes: How many are audited together.
    """
    groups = change.by_group
    level = (len(groups), attributes)
    claims = {label: found.at(_claim(found, *level)) for label, found in groups.items()}
    harmed = {label: found for label, found in claims.items() if found.high < -margin}
    if harmed:
        return Judgement(answer=Change.HARMED, reasons=_say("change of", harmed))
    blind = {
        label: found for label, found in groups.items() if not found.minimum_detectable <= margin
    }
    if blind or followed is None:
        return Judgement(
            answer=Change.NOT_ENOUGH, reasons=_say_detectable("change of", blind, margin)
        )
    gap = followed.change.at(_claim(followed.change, *level))
    worst, better = claims[followed.worse], claims[followed.better]
    named = {f"{followed.better} minus {followed.worse}": gap}
    fell = gap.excludes_zero and gap.value < 0
    if fell and -better.value > worst.value:
        reasons = (*_say("change of", named), *_say("change of", {followed.better: better}))
        return Judgement(answer=Change.LEVELLED_DOWN, reasons=reasons)
    rose = worst.excludes_zero and worst.value > 0
    smaller = fell and abs(followed.perturbed.value) < abs(followed.host.value)
    reasons = (*_say("change of", {followed.worse: worst}), *_say("change of", named))
    losers = {
        label: found
        for label, found in groups.items()
        if label != followed.worse and not found.low > -margin
    }
    if (rose or smaller) and not losers:
        return Judgement(answer=Change.IMPROVED, reasons=reasons)
    return Judgement(
        answer=Change.NOT_DETECTED,
        reasons=(*reasons, *_say("a loss beyond the margin is not excluded: change of", losers)),
    )


def _claim(found: Estimate, n_groups: int, attributes: int) -> float:
    """Return the two-sided confidence of claims that are one-sided at alpha / 2 / (3 A - 2)."""
    return 1 - 2 * (1 - found.confidence) / _ANSWERS / (3 * n_groups - 2) / attributes


def _say(what: str, named: Mapping[str, Estimate]) -> tuple[str, ...]:
    return tuple(
        f"{what} {label}: {found.value:+.4f}, {100 * found.confidence:.4g} % interval "
        f"[{found.low:+.4f}, {found.high:+.4f}], {found.n_cases} cases of {found.n_clusters} "
        "clusters"
        if found.known
        else f"{what} {label}: {found.n_cases} cases of {found.n_clusters} clusters give no "
        "interval"
        for label, found in named.items()
    )


def _say_detectable(what: str, named: Mapping[str, Estimate], margin: float) -> tuple[str, ...]:
    return tuple(
        f"{what} {label}: "
        + (
            f"the smallest detectable is {found.minimum_detectable:.4f}, the margin {margin:g}"
            if found.known
            else f"{found.n_cases} cases of {found.n_clusters} clusters give no interval"
        )
        for label, found in named.items()
    )
