"""Do the audit's intervals cover, and do its verdicts hold? On thousands of planted cohorts.

    python -m benchmarks.inference                # every kind and size, about an hour on one core
    python -m benchmarks.inference --workers 2

Scores are drawn, no masks; they go through the functions that the audit itself calls. What is done
already with the same settings is skipped, so that it can be stopped and started again. Writes
results/inference.json, and from it what the library's reports print: apple_seg/audit/coverage.json.
"""

import argparse
import json
import platform
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from importlib.metadata import version
from typing import Any

from tqdm import tqdm

from apple_seg.files import to_json, write_text
from benchmarks.inference.cohorts import KINDS
from benchmarks.inference.coverage import PACKAGED, RESULTS, measured
from benchmarks.inference.rows import COLUMNS, Row, ask_fairlearn, judge_cell, settings_of
from benchmarks.run import commit

Cell = tuple[str, int]


def main() -> None:
    """Fill in what is missing of the table, a cell at a time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=1500)
    parser.add_argument("--fairlearn-repeats", type=int, default=20, help="about 1 s each")
    parser.add_argument("--workers", type=int, default=1, choices=[1, 2])
    parser.add_argument("--cohorts", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--again", action="store_true", help="judge also what is done already")
    options = parser.parse_args()
    made_by = commit()
    rows = _read()
    jobs = list(_missing(rows, options))
    with ProcessPoolExecutor(options.workers) as pool:
        running = {pool.submit(partial(job, *cell, n)): (job, cell) for job, cell, n in jobs}
        for done in tqdm(as_completed(running), total=len(jobs)):
            job, cell = running[done]
            rows[cell] = rows.get(cell, {}) | done.result()
            if job is judge_cell:
                rows[cell]["commit"] = made_by
            _write(rows, options)


def _missing(rows: dict[Cell, Row], options: Any) -> Iterator[tuple[Any, Cell, int]]:
    """Yield what to run, the audit's own part first: it is what the library prints."""
    cells = [(name, cases) for name in options.cohorts for cases in KINDS[name].sizes]
    for cell in cells:
        asked = {"repeats": options.repeats, "settings": settings_of(cell[0])}
        row = rows.get(cell, {})
        if row.get("settings", asked["settings"]) != asked["settings"]:
            row = rows[cell] = {}
        if options.again or any(row.get(name) != value for name, value in asked.items()):
            yield judge_cell, cell, options.repeats
    for cell in cells:
        if (rows.get(cell, {}).get("repeats_fairlearn") or 0) < options.fairlearn_repeats:
            yield ask_fairlearn, cell, options.fairlearn_repeats


def _read() -> dict[Cell, Row]:
    if not RESULTS.is_file():
        return {}
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    return {(row["cohort"], row["cases"]): row for row in rows}


def _write(rows: dict[Cell, Row], options: Any) -> None:
    """Write the rows that are complete so far, in the order of the kinds, and the packaged file."""
    order = [(name, cases) for name, kind in KINDS.items() for cases in kind.sizes]
    judged = [rows[cell] for cell in order if "coverage" in rows.get(cell, {})]
    content = {
        "about": "shares over cohorts whose truth is planted; Monte Carlo standard error of a "
        f"share of 0.95 over {options.repeats} cohorts: "
        f"{(0.95 * 0.05 / options.repeats) ** 0.5:.4f}",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy", "fairlearn", "fairmedfm")},
        },
        "cohorts": {name: kind.about for name, kind in KINDS.items()},
        "columns": COLUMNS,
        "rows": [{name: row.get(name) for name in COLUMNS} for row in judged],
    }
    write_text(RESULTS, to_json(content))
    write_text(PACKAGED, to_json(measured(content)))


if __name__ == "__main__":
    main()
