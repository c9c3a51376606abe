"""The committed results: one JSON a rung, host, scenario and number of cases."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from apple_seg.data import Cohort
from apple_seg.errors import AppleSegError
from apple_seg.files import to_json, write_text
from apple_seg.host import fingerprint
from benchmarks.ladder.auditing import audit_rung
from benchmarks.ladder.climbs import Climb, done
from benchmarks.ladder.rungs import CONTROL, DEFAULT, RUNGS
from benchmarks.ladder.scenarios import of_scenario
from benchmarks.run import commit, describe_machine

RESULTS = Path(__file__).parent.parent / "results" / "ladder"


def audit_cell(
    host: str,
    rungs: Mapping[str, Sequence[Climb]],
    cases: Cohort,
    *,
    wanted: Collection[str],
    folder: Path = RESULTS,
) -> Iterator[str]:
    """Audit rungs of one host, scenario and number of cases; write results, and say which.

    Every rung stands beside its host, the control and what its `beside` names; the default beside
    every rung.

    Args:
        host: Its name.
        rungs: A climb a seed each, by name.
        cases: Of the test split.
        wanted: Whose results are written; those with a seed that is not fitted are left out.
        folder: Where results are kept.

    Raises:
        AppleSegError: A result is there already, of seeds that would be lost.
    """
    ready = {
        name: climbs
        for name, climbs in rungs.items()
        if all(done(climb) is not None for climb in climbs)
    }
    for name in wanted:
        if name not in ready:
            yield f"left out, not fitted with all seeds: {rungs[name][0].cell}/{name}"
            continue
        beside = ready if name == DEFAULT else {CONTROL, RUNGS[name].beside}
        others = {one: ready[one] for one in beside if one in ready and one != name}
        path = path_of(host, ready[name][0], folder)
        _check_seeds(path, ready[name])
        write_text(
            path, to_json(_result(host, ready[name], audit_rung(ready[name], others, cases)))
        )
        yield f"wrote {path}"


def _check_seeds(path: Path, climbs: Sequence[Climb]) -> None:
    """Refuse to write over a result of more seeds."""
    if not path.is_file():
        return
    lost = {*json.loads(path.read_text())["seeds"]} - {one.settings.seed for one in climbs}
    if lost:
        raise AppleSegError(
            f"{path} is of seeds {', '.join(map(str, sorted(lost)))} too: name them in --seeds, or "
            "delete it first"
        )


def path_of(host: str, climb: Climb, folder: Path = RESULTS) -> Path:
    """Return where the result of a rung is kept."""
    return folder / f"{host}-{climb.cell}" / f"{climb.name}.json"


def read_results(folder: Path = RESULTS) -> dict[str, list[dict[str, Any]]]:
    """Read all results, by the folder that they are in."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*/*.json")):
        found.setdefault(path.parent.name, []).append(json.loads(path.read_text()))
    return found


def _result(host: str, climbs: Sequence[Climb], audit: Mapping[str, Any]) -> dict[str, Any]:
    first = climbs[0]
    fits = [done(climb)["fit"] for climb in climbs]  # type: ignore[index]
    experiment = of_scenario(first.experiment, first.scenario)
    return {
        "set": "ham10000",
        "host": host,
        "rung": first.name,
        "scenario": first.scenario,
        "attribute": experiment.groups.attribute,
        "n_fit": fits[0]["n_fit"],
        "cases": first.cases or "all",
        "seeds": [climb.settings.seed for climb in climbs],
        "whole_host": first.rung.whole_host,
        "images": first.rung.images,
        "method": _method(first),
        "settings": {**first.identity["settings"], "seed": None},
        "sites": _sites(first, fits),
        "trained_parameters": fits[0]["trained_parameters"],
        "host_parameters": fits[0]["host_parameters"],
        "run": {
            **describe_machine(),
            "commit": commit(),
            "host_fingerprint": fingerprint(experiment.host.build()),
        },
        "fits": [_brief(fit) for fit in fits],
        "audit": audit,
    }


def _method(climb: Climb) -> dict[str, Any]:
    """Return the parts of a method, without those that have no part in what was trained."""
    parts = asdict(climb.method.parts)
    without = {} if climb.rung.trains == "perturbers" else {"sites": None, "perturber": None}
    return parts | without


def _sites(climb: Climb, fits: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what was perturbed, which must be the same with every seed."""
    if climb.rung.trains != "perturbers":
        return []
    sites: list[str] = fits[0]["sites"]
    if any(fit["sites"] != sites for fit in fits):
        raise ValueError(f"{climb.cell}/{climb.name} was fitted at other sites with other seeds")
    return sites


def _brief(fit: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what validation saw, and what it took."""
    vote = fit["vote"]
    return {
        "kept": fit["selected"]["epoch"],
        "vote": None if vote is None else _vote(vote),
        "validation": [_figures(one) for one in fit["candidates"]],
        "groups": fit["groups"],
        "seconds": fit["seconds"],
        "training_seconds": fit["training_seconds"],
        "replay": bool((fit["replay"] or {}).get("used")),
    }


def _vote(vote: Mapping[str, Any]) -> dict[str, Any]:
    asked = {name: _figures(vote[name]) for name in ("fitted", "untouched")}
    return {"kept": vote["kept"], **_figures(vote["candidate"]), **asked}


def _figures(candidate: Mapping[str, Any]) -> dict[str, Any]:
    return {"overall": candidate["overall"], "by_group": candidate["by_group"]}
