"""What a sweep says at its end, in sentences, and its table."""

import math

from apple_seg.audit.tables import Table, percent
from apple_seg.workflow.sweep.choice import Ranked, Sweep
from apple_seg.workflow.sweep.results import SeedFit


def said(sweep: Sweep, compare: str) -> tuple[str, ...]:
    """Say what was chosen, why, what is shipped, and how far it can be trusted.

    Args:
        sweep: What was found.
        compare: The command that looks at the test split.
    """
    chosen = sweep.chosen
    return (
        *(_something(sweep, chosen.fits[0], compare) if chosen else _nothing(sweep)),
        _distance(sweep),
        _curse(sweep),
        *_failed(sweep),
        *sweep.plan.notes,
    )


def ranking_table(sweep: Sweep, *, brief: bool = False) -> Table:
    """Return the host and every combination by the rule's order, means over seeds.

    Args:
        sweep: What was found.
        brief: Whether to leave out what a terminal has no room for.
    """
    keys = tuple(sweep.plan.combinations[0].short)
    columns = ("place", *keys, "worst group", "difference", "overall", "smallest gain", "front")
    more = ("lowest and highest seed", "identity kept", "trained", "seconds a fit")
    rows = [
        (*_row(place, one, len(keys)), *(() if brief else _more(one, len(sweep.plan.seeds))))
        for place, one in enumerate(sweep.ranking, 1)
    ]
    return Table(
        "Dice on validation, means over seeds, best first",
        columns if brief else columns + more,
        rows,
        note=(
            f"By the rule {sweep.rule!r}; below the host, by worst group. Smallest gain: of a "
            f"group, or overall; a loss of more than {sweep.margin:g} (!) is not allowed. "
            "Difference: best minus worst group mean. Front: nothing else has both a better worst "
            "group and a smaller difference."
        ),
    )


def seeds_table(sweep: Sweep) -> Table:
    """Return every fit."""
    rows = [
        (
            one.label,
            str(fit.seed),
            fit.kept,
            *(f"{value:.4f}" for value in fit.selected.by_group.values()),
            f"{fit.selected.difference:.4f}",
            f"{fit.selected.overall:.4f}",
            f"{fit.selected.group_min - fit.host.group_min:+.4f}",
        )
        for one in sweep.tried
        for fit in one.fits
    ]
    labels = tuple(sweep.host.by_group)
    gain = "gain of the worst group"
    columns = ("combination", "seed", "epoch", *labels, "difference", "overall", gain)
    return Table("Dice on validation, each fit", columns, rows)


def duration(seconds: float) -> str:
    """Write a time in the unit that suits it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _row(place: int, one: Ranked, keys: int) -> tuple[str, ...]:
    mean, tried = one.mean, one.tried
    named = tuple(tried.combination.short.values()) if tried else ("",) * keys
    figures = (f"{value:.4f}" for value in (mean.group_min, mean.difference, mean.overall))
    gain = f"{one.gain:+.4f}" + (" !" if one.costly else "")
    first = str(place) if tried else f"{place} host as deployed"
    return (first, *named, *figures, gain if tried else "", "yes" if one.front else "")


def _more(one: Ranked, seeds: int) -> tuple[str, ...]:
    if one.tried is None:
        return ("", "", "", "")
    fits = one.tried.fits
    worst = [fit.selected.group_min for fit in fits]
    return (
        f"{min(worst):.4f} to {max(worst):.4f}",
        f"{one.tried.identities} of {seeds}",
        percent(fits[0].share),
        f"{one.tried.seconds:,.0f}",
    )


def _something(sweep: Sweep, first: SeedFit, compare: str) -> tuple[str, ...]:
    best = sweep.ranking[0]
    host, mean = sweep.host, best.mean
    seeds = len(sweep.plan.seeds)
    grown: tuple[str, ...] = ()
    if mean.difference > host.difference:
        grown = (
            "The difference is larger than the host's: the groups that were served better gained "
            "more than the one served worst, and the rule asks for the latter only.",
        )
    shipped = (
        f"Shipped is its first seed, {first.seed}, whose worst group has "
        f"{first.selected.group_min:.4f}: never the best-looking seed, which would be best by "
        "chance and is not what a mean over seeds speaks of."
    )
    if first.identity:
        shipped += " That seed kept the identity: its file changes nothing."
    elif first.selected.epoch == 0:
        shipped += " That seed kept the untouched host's vote: no perturber acts in its file."
    return (
        f"Chosen: {best.label}, by the rule {sweep.rule!r} (margin {sweep.margin:g}) on validation,"
        f" mean over {seeds} {'seed' if seeds == 1 else 'seeds'}: worst-group Dice "
        f"{mean.group_min:.4f} (host as deployed: {host.group_min:.4f}), difference "
        f"{mean.difference:.4f} ({host.difference:.4f}), overall {mean.overall:.4f} "
        f"({host.overall:.4f}).",
        *grown,
        shipped,
        f"The one look at the test split is: {compare}",
    )


def _nothing(sweep: Sweep) -> tuple[str, ...]:
    return (
        f"Nothing was chosen: by the rule {sweep.rule!r} (margin {sweep.margin:g}) on validation, "
        f"none of {len(sweep.finished)} combinations is better for the worst group than the host "
        f"as deployed ({sweep.host.group_min:.4f}) without costing another more than the margin. "
        "The identity is the answer: no perturber file was written, and there is nothing to look "
        "at on the test split.",
    )


def _distance(sweep: Sweep) -> str:
    best, *others = sweep.ranking
    others = [one for one in others if one.tried is None or one.tried.changes]
    if not others:
        return "No combination changes anything: every seed of each kept the identity."
    second = others[0]
    gap = best.mean.group_min - second.mean.group_min
    if gap < 0:
        return (
            f"{second.label} has a worst-group Dice {-gap:.4f} above it, but costs a group up to "
            f"{-second.gain:.4f}, which is more than the margin."
        )
    return f"The second, {second.label}, is {gap:.4f} below the best in worst-group Dice."


def _curse(sweep: Sweep) -> str:
    number = len(sweep.finished)
    text = (
        f"The best of {number} looks better on validation than it is (winner's curse): the same "
        "cases chose its epochs and chose it."
    )
    if math.isnan(sweep.noise):
        return f"{text} With one seed, chance and gain cannot be told apart at all: take three."
    return (
        f"{text} Were all {number} equal, and their seeds scattered as they do (standard deviation "
        f"{sweep.noise:.4f}), the best mean would stand about {sweep.flattered:.4f} above the "
        "others' by the chance of training alone."
    )


def _failed(sweep: Sweep) -> list[str]:
    return [
        f"Not fitted, and so not to be chosen: {one.label}, seed {seed}: {why}"
        for one in sweep.tried
        for seed, why in one.failed.items()
    ]
