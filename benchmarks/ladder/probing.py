"""What fresh probes still read at every site that a rung perturbs; on validation cases only."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from apple_seg.files import to_json, write_text
from apple_seg.workflow.surveying import survey_experiment
from benchmarks.ladder.climbs import Climb, trained
from benchmarks.ladder.scenarios import of_scenario
from benchmarks.run import commit, describe_machine
from benchmarks.speed import tables

RESULTS = Path(__file__).parent.parent / "results" / "erasure"
CHANCE = 0.55
"""An AUC above this stands out in the table, though masks alone may give away more."""


def probe(host: str, climb: Climb, folder: Path = RESULTS) -> Path | None:
    """Probe the sites of a rung that is fitted, and write the result.

    Args:
        host: Its name.
        climb: One seed of a rung with perturbers.
        folder: Where results are kept.
    """
    record = trained(climb)
    if record is None or climb.rung.trains != "perturbers":
        return None
    experiment = of_scenario(climb.experiment, climb.scenario)
    found = survey_experiment(experiment, climb.weights, progress=False).result.to_dict()
    fit = record["fit"]
    result = {
        "host": host,
        "scenario": climb.scenario,
        "cases": climb.cases or "all",
        "rung": climb.name,
        "attribute": found["attribute"],
        "seed": climb.settings.seed,
        "sites": [
            {"site": one["site"], **_read(one["leakage"])}
            for one in found["sites"]
            if "perturbed" in (one["leakage"] or {})
        ],
        "masks": _read(found["masks"]),
        "validation": [
            {"overall": one["overall"], "by_group": one["by_group"]}
            for one in (fit["candidates"][0], fit["selected"])
        ],
        "run": {**describe_machine(), "commit": commit()},
    }
    path = folder / f"{host}-{climb.cell}" / f"{climb.name}-seed-{climb.settings.seed}.json"
    write_text(path, to_json(result))
    return path


def read_probes(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Read all results."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/*.json"))]


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return a row a rung and site."""
    lines = tables.heading(
        ["host", "rung", "site", "linear", "MLP", "single cells", "masks", "Dice", "worst group"]
    )
    for result in results:
        before, after = result["validation"]
        cost = [after["overall"] - before["overall"]]
        worst = min(before["by_group"], key=before["by_group"].get)
        cost += [after["by_group"][worst] - before["by_group"][worst]]
        kept = " (identity kept)" if before == after else ""
        cell = f"{result['host']}, {result['scenario']}, {result['cases']} cases"
        name = [cell, result["rung"] + kept]
        for number, site in enumerate(result["sites"]):
            row = [*(["", ""] if number else name), site["site"]]
            row += [_moved(site, kind) for kind in ("linear", "mlp", "cells")]
            row += ["", "", ""] if number else [_moved(result["masks"], "linear")]
            lines.append(tables.line(row if number else [*row, *(f"{one:+.4f}" for one in cost)]))
    return "\n".join(lines) + "\n"


def _read(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the AUC of every probe, with its interval, before and after."""
    return {
        who: {
            kind: {key: one[key] for key in ("auc", "low", "high")}
            for kind, one in found[who].items()
        }
        for who in ("host", "perturbed", "truth")
        if who in found
    }


def _moved(found: Mapping[str, Any], kind: str) -> str:
    before, after = found["host"][kind]["auc"], found["perturbed"][kind]["auc"]
    mark = "**" if after > CHANCE else ""
    return f"{before:.2f} to {mark}{after:.2f}{mark}"
