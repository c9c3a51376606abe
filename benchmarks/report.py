"""Write the tables of README.md and benchmarks/README.md, and pictures, from the committed JSON.

python -m benchmarks.report           # write
python -m benchmarks.report --check   # exit 1 where a table is not what the results say
"""

import argparse
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.inference import table
from benchmarks.ladder import picture, probing, racing
from benchmarks.ladder.probing import read_probes
from benchmarks.ladder.racing import read_races
from benchmarks.ladder.results import RESULTS, read_results
from benchmarks.ladder.tables import brief, in_order, whole
from benchmarks.speed import tables

HERE = Path(__file__).parent


def main() -> None:
    """Write or check both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    options = parser.parse_args()
    stale = []
    for path, blocks in written_blocks().items():
        content = path.read_text(encoding="utf-8")
        written = content
        for name, text in blocks.items():
            written = replace_block(written, name, text)
        if options.check:
            stale += [] if written == content else [path.name]
        else:
            path.write_text(written, encoding="utf-8")
    for path, cells in pictures().items():
        shows = f"<!-- of {picture.digest(cells)} -->\n"
        if options.check:
            # Of what it shows, and not of its lines, which another machine may round otherwise.
            same = path.is_file() and path.read_text(encoding="utf-8").endswith(shows)
            stale += [] if same else [path.name]
        else:
            path.write_text(f"{picture.pareto(cells)}\n{shows}", encoding="utf-8")
    if stale:
        raise SystemExit(f"{', '.join(stale)}: not what the results say; run `make readme`")


def written_blocks() -> dict[Path, dict[str, str]]:
    """Return what stands between the markers of each file, by name."""
    results = load(HERE / "results" / "ham10000")
    speed = json.loads((HERE / "results" / "speed.json").read_text())
    perturbers = json.loads((HERE / "results" / "perturbers.json").read_text())
    inference = json.loads((HERE / "results" / "inference.json").read_text())
    return {
        HERE.parent / "README.md": {
            "results": summary(results),
            "speed": tables.brief(speed),
            "inference": table.brief(inference),
            "audit-speed": audit_speed(),
            "ladder": brief(read_results()),
        },
        HERE / "README.md": {
            "results": summary(results) + "\n" + details(results),
            "speed": tables.whole(speed),
            "perturbers": tables.quality(perturbers),
            "inference": table.whole(inference),
            "audit-speed": audit_speed(),
            "ladder": whole(read_results()),
            "erasure": probing.table(read_probes()),
            "race": racing.table(read_races()),
        },
    }


def pictures() -> dict[Path, list[list[Any]]]:
    """Return what the ladder's pictures show, by their files, one a host."""
    found: dict[Path, list[Any]] = {}
    for results in in_order(read_results()):
        if results[0]["attribute"] == "age":
            found.setdefault(RESULTS / f"{results[0]['host']}.svg", []).append(results)
    return found


def audit_speed() -> str:
    """Return what an audit from stored predictions takes, in a sentence."""
    found = json.loads((HERE / "results" / "audit_speed.json").read_text())
    score, whole, medpy = (found[name] for name in ("score", "end_to_end", "medpy"))
    ratio = medpy["median_processor_seconds"] / score["median_processor_seconds"]
    return (
        f"{found['cases']:,} cases of HAM10000 (200 x 150 pixels) from stored masks, all "
        f"{len(found['metrics'])} "
        f"metrics, {found['machine']}: scoring takes {score['median_seconds']:.1f} s, a fresh "
        f"process from start to audit in JSON {whole['median_seconds']:.1f} s (medians of "
        f"{len(score['runs'])}). A plain loop over medpy's five of these metrics takes "
        f"{medpy['median_seconds']:.0f} s, {ratio:.1f} times the processor time, for the same "
        "numbers to the last digit. The bootstrap's 10,000 resamples of 10,000 cases of 7,000 "
        f"patients take {found['bootstrap']['median_seconds']:.2f} s.\n"
    )


def load(folder: Path) -> list[dict[str, Any]]:
    """Read the results, the host with most seeds first, then by method."""
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return sorted(results, key=lambda one: (-len(one["seeds"]), one["host"], one["method"]))


def summary(results: Sequence[dict[str, Any]]) -> str:
    """Return one table: a row for each host as deployed, then a row a method."""
    labels = list(results[0]["audit"]["host"]["by_group"])
    header = [
        "host",
        "method",
        "fitted on",
        "identity kept",
        *labels,
        "difference",
        "change of the worst",
    ]
    lines = [*tables.heading([*header, "verdict"])]
    for host, group in groupby(results, key=lambda one: one["host"]):
        methods = list(group)
        block = methods[0]["audit"]["host"]
        verdict = methods[0]["audit"]["verdict"]["difference"]
        lines.append(tables.line([host, "as deployed", "", "", *_figures(block), "", verdict]))
        lines += [tables.line(["", *_method(one)]) for one in methods]
    return "\n".join(lines) + "\n"


def details(results: Sequence[dict[str, Any]]) -> str:
    """Return what the mean over seeds hides, and how each fit went on validation."""
    header = ["host", "method", "seed", "kept epoch", "perturber / host", "fit, s"]
    lines = ["By seed:", "", *tables.heading([*header, "worst group", "difference", "verdict"])]
    for one in results:
        runs = zip(one["seeds"], one["fit"], one["audit"]["by_seed"], strict=True)
        for seed, fit, audit in runs:
            share = fit["trained_parameters"] / fit["host_parameters"]
            kept = fit["selected"]["epoch"]
            worst = audit["perturbed"]["by_group"][audit["worst_group"]]["value"]
            cells = [one["host"], one["method"], seed, kept or "0 (the identity)", f"{share:.0%}"]
            cells += [f"{fit['seconds']:.0f}", f"{worst:.4f}", _difference(audit["perturbed"])]
            lines.append(tables.line([*cells, audit["verdict"]["change"]]))
    return "\n".join(lines) + "\n"


def _method(one: dict[str, Any]) -> list[Any]:
    audit = one["audit"]
    worst = audit["change"]["by_group"][audit["worst_group"]]
    change = f"{worst['value']:+.4f} [{worst['low']:+.4f}, {worst['high']:+.4f}]"
    verdict = audit["verdict"]["change"]
    figures = _figures(audit["perturbed"])
    kept = sum(fit["selected"]["epoch"] == 0 for fit in one["fit"])
    seeds = f"{kept} of {len(one['seeds'])}"
    return [one["method"], one["n_fit"], seeds, *figures, change, verdict]


def _figures(block: dict[str, Any]) -> list[str]:
    means = [f"{estimate['value']:.4f}" for estimate in block["by_group"].values()]
    return [*means, _difference(block)]


def _difference(block: dict[str, Any]) -> str:
    (found,) = block["difference"].values()
    return f"{found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"


def replace_block(content: str, name: str, text: str) -> str:
    """Put `text` between the markers of this name."""
    first, last = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, begin, rest = content.partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end):
        raise SystemExit(f"no {first} ... {last} to write between")
    return f"{before}{first}\n{text}{last}{after}"


if __name__ == "__main__":
    main()
