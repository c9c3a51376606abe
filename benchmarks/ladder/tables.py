"""The ladder's results as tables, for benchmarks/README.md and the project's."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Literal

from benchmarks.ladder.rungs import CONTROL, DEFAULT, RUNGS
from benchmarks.speed import tables

Result = Mapping[str, Any]
_CELL = "host, scenario, fitted on"
_BRIEF = ("views", "apple", CONTROL, DEFAULT, "fine-tuning", "fine-tuning-consensus")


def whole(cells: Mapping[str, Sequence[Result]]) -> str:
    """Return a table of each host, scenario, number of cases and attribute, under its name."""
    lines = []
    for results in in_order(cells):
        lines += [f"*{title(results[0])}*", "", *_cell(results), ""]
    return "\n".join(lines)


def brief(cells: Mapping[str, Sequence[Result]]) -> str:
    """Return two tables, a row a cell: what the rungs that are asked about first change.

    The first says of the group that is served worst by how much its Dice rises, the second by how
    much the difference between the groups shrinks or grows.
    """
    names = ["identity", *map(_bold, _BRIEF)]
    lifts = tables.heading([_CELL, "served worst", *names, f"weights that {DEFAULT} trains"])
    gaps = tables.heading([_CELL, *names])
    for results in in_order(cells):
        first, group = results[0], worst(results[0])
        cell = f"{first['host']}, {first['scenario']}, {first['cases']} cases"
        found = {one["rung"]: one for one in results}
        rungs = [found.get(name) for name in _BRIEF]
        host = first["audit"]["against_host"]["host"]["by_group"]
        share = _share(found[DEFAULT]) if DEFAULT in found else ""
        lifted = [_lift(one, group) for one in rungs]
        lifts.append(tables.line([cell, group, f"{host[group]['value']:.4f}", *lifted, share]))
        named = f"{cell}, by {first['attribute']}"
        gaps.append(tables.line([named, _means(first, "host")[-1], *map(_gap_change, rungs)]))
    return "\n".join([*lifts, "", "The difference between the groups:", "", *gaps]) + "\n"


def title(result: Result) -> str:
    """Say what a cell's results have in common."""
    seeds = len(result["seeds"])
    return (
        f"{result['host']}, {result['scenario']}, fitted on {result['cases']} cases, by "
        f"{result['attribute']}, {seeds} seed{'s' if seeds > 1 else ''}"
    )


def in_order(cells: Mapping[str, Sequence[Result]]) -> list[list[Result]]:
    """Return cells by attribute, host, scenario and number, their rungs as they are declared."""
    places = {name: place for place, name in enumerate(RUNGS)}

    def place(results: Sequence[Result]) -> Any:
        first = results[0]
        few = 0 if first["cases"] == "all" else first["cases"]
        return first["attribute"], first["host"] != "unet", first["scenario"], bool(few), -few

    def rung(result: Result) -> int:
        return places.get(result["rung"], len(places))

    return [sorted(results, key=rung) for results in sorted(cells.values(), key=place)]


def worst(result: Result) -> str:
    """Return the label of the group that the host serves worst."""
    means = result["audit"]["against_host"]["host"]["by_group"]
    found: str = min(means, key=lambda label: means[label]["value"])
    return found


def gap(result: Result, who: Literal["host", "perturbed"]) -> float:
    """Return the difference between the groups, positive where it favours whom the host favours."""
    (difference,) = result["audit"]["against_host"][who]["difference"].values()
    return _sign(result) * float(difference["value"])


def _cell(results: Sequence[Result]) -> list[str]:
    host = results[0]["audit"]["against_host"]["host"]
    labels = list(host["by_group"])
    found = {one["rung"]: one for one in results}
    header = ["rung", "trained", "epochs kept", "overall", *labels, "difference", "its change"]
    header += [f"{worst(results[0])}: change of host", f"above {CONTROL}", f"{DEFAULT} above it"]
    lines = tables.heading([*header, "fit, s (median)"])
    lines.append(tables.line(["identity", "0", "", *_means(results[0], "host"), *[""] * 5]))
    if len({tuple(one["seeds"]) for one in results}) > 1:
        raise ValueError(f"rungs of other seeds in one table: {title(results[0])}")
    lines += [tables.line(_rung(one, found.get(DEFAULT))) for one in results]
    return [*lines, *(text for one in results for text in _own_peer(one))]


def _own_peer(result: Result) -> list[str]:
    """Say what a rung brings above what it is told from besides the control, if there is such."""
    rung, group = result["rung"], worst(result)
    if rung == DEFAULT:
        return []
    return [
        f"\n*{rung}* above *{name}*, {group}: {_change(found['change'], group)}."
        for name, found in result["audit"]["against"].items()
        if name != CONTROL
    ]


def _rung(result: Result, default: Result | None) -> list[str]:
    group, audit, name = worst(result), result["audit"], result["rung"]
    kept = ", ".join(str(fit["kept"]) for fit in result["fits"])
    seconds = median(fit["seconds"] for fit in result["fits"])
    others = default["audit"]["against"] if default else {}
    return [
        _bold(name),
        _share(result),
        kept,
        *_means(result, "perturbed"),
        _gap_change(result),
        _change(audit["against_host"]["change"], group),
        _change(audit["against"].get(CONTROL, {}).get("change"), group),
        _change(others.get(name, {}).get("change"), group),
        f"{seconds:.0f}",
    ]


def _bold(name: str) -> str:
    return f"**{name}**" if name == DEFAULT else name


def _share(result: Result) -> str:
    return f"{result['trained_parameters'] / result['host_parameters']:.1%}"


def _means(result: Result, who: Literal["host", "perturbed"]) -> list[str]:
    block = result["audit"]["against_host"][who]
    means = [one["value"] for one in (block["overall"], *block["by_group"].values())]
    return [f"{one:.4f}" for one in (*means, gap(result, who))]


def _sign(result: Result) -> float:
    """Return the sign of the host's difference."""
    (difference,) = result["audit"]["against_host"]["host"]["difference"].values()
    return -1.0 if difference["value"] < 0 else 1.0


def _gap_change(result: Result | None) -> str:
    """Say how much larger the difference becomes."""
    if result is None:
        return ""
    (change,) = result["audit"]["against_host"]["change"]["difference"].values()
    value, *ends = (_sign(result) * change[key] for key in ("value", "low", "high"))
    return f"{value:+.4f} [{min(ends):+.4f}, {max(ends):+.4f}]"


def _lift(result: Result | None, group: str) -> str:
    if result is None:
        return ""
    said = result["audit"]["against_host"]
    return f"{_change(said['change'], group)}, {said['verdict']['change']}"


def _change(block: Mapping[str, Any] | None, group: str) -> str:
    if block is None:
        return ""
    one = block["by_group"][group]
    return f"{one['value']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]"
