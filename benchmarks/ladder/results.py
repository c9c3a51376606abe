"""The committed results: one JSON a rung, host, scenario and number of cases."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from apple_seg.data import Cohort
from apple_seg.files import to_json, write_text
from apple_seg.host import fingerprint
from benchmarks.ladder.auditing import audit_rung
from benchmarks.ladder.climbs import Climb, done
from benchmarks.ladder.rungs import CONTROL, DEFAULT
from benchmarks.ladder.scenarios import of_scenario
from benchmarks.run import commit, describe_machine

RESULTS = Path(__file__).parent.parent / "results" / "ladder"


def audit_cell(
    host: str, rungs: Mapping[str, Sequence[Climb]], cases: Cohort, folder: Path = RESULTS
) -> list[Path]:
    """Audit all rungs of one host, scenario and number of cases that are fitted; write results.

    Every rung stands beside its host and the control; the default stands beside every rung.

    Args:
        host: Its name.
        rungs: A climb a seed each, by name; those with a seed that is not fitted are left out.
        cases: Of the test split.
        folder: Where results are kept.
    """
    ready = {
        name: climbs
        for name, climbs in rungs.items()
        if all(done(climb) is not None for climb in climbs)
    }
    written = []
    for name, climbs in ready.items():
        wanted = ready if name == DEFAULT else {CONTROL}
        others = {one: ready[one] for one in wanted if one in ready and one != name}
        audit = audit_rung(climbs, others, cases)
        path = path_of(host, climbs[0], folder)
        write_text(path, to_json(_result(host, climbs, audit)))
        written.append(path)
    return written


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
        "method": first.method.parts,
        "settings": {**first.identity["settings"], "seed": None},
        "sites": fits[0]["sites"],
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


def _brief(fit: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what validation saw, and what it took."""
    vote = fit["vote"]
    return {
        "kept": fit["selected"]["epoch"],
        "vote": None if vote is None else {"kept": vote["kept"], **_figures(vote["candidate"])},
        "validation": [_figures(one) for one in fit["candidates"]],
        "groups": fit["groups"],
        "seconds": fit["seconds"],
        "training_seconds": fit["training_seconds"],
        "replay": bool((fit["replay"] or {}).get("used")),
    }


def _figures(candidate: Mapping[str, Any]) -> dict[str, Any]:
    return {"overall": candidate["overall"], "by_group": candidate["by_group"]}
