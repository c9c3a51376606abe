"""Time an epoch, and write what was found to benchmarks/results/speed.json.

    python -m benchmarks.speed hosts                 # every host against what a user would do
    python -m benchmarks.speed hosts --only unet/all/lean --device cuda
    python -m benchmarks.speed growth                # 250 to 16,000 cases, time and memory
    python -m benchmarks.speed processes             # one and two processes
    python -m benchmarks.speed profile               # where a step goes

Each writes its own rows as it goes, and leaves those of the others: a run that was stopped
loses the row it was at. Run it on an idle machine.
"""

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from apple_seg.files import to_json, write_text
from benchmarks.run import commit
from benchmarks.speed.measure import Row, compare_hosts, grow, profile, share

RESULTS = Path(__file__).parents[1] / "results" / "speed.json"

HOSTS = [
    ("sam-vit-b", "bottleneck", "residual"),
    ("unet", "bottleneck", "residual"),
    ("unet", "all", "residual"),
    ("unet", "all", "lean"),
    ("attention-unet", "all", "lean"),
    ("smp-unet", "bottleneck", "lean"),
    ("smp-unet", "all", "lean"),
    ("sam-tiny-vit", "bottleneck", "residual"),
    ("attention-unet", "bottleneck", "lean"),
    ("attention-unet", "all", "residual"),
    ("smp-unet", "all", "residual"),
]
GROWTH = [250, 1000, 4000, 16000]
KEYS = ("host", "sites", "perturber", "device", "cases", "processes")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["hosts", "growth", "processes", "profile"])
    parser.add_argument("--only", nargs="+", help="host/sites/perturber, or numbers of cases")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", type=int)
    options = parser.parse_args()
    commit()
    for row in _rows(options):
        _keep(options.what, row)
        print("  ".join(f"{key}={_short(value)}" for key, value in row.items()), flush=True)


def _rows(options: Any) -> Any:
    if options.what == "growth":
        for cases in map(int, options.only or GROWTH):
            yield grow(cases, perturber="lean")
    elif options.what == "processes":
        for count, threads in ((1, 1), (1, 2), (2, 1)):
            yield share(count, cases=options.cases or 512, threads=threads)
    else:
        for name, sites, perturber in HOSTS:
            if options.only and f"{name}/{sites}/{perturber}" not in options.only:
                continue
            if options.what == "profile":
                yield profile(name, sites, perturber, repeats=options.repeats)
            else:
                yield compare_hosts(
                    name,
                    sites,
                    perturber,
                    repeats=options.repeats,
                    device=options.device,
                    cases=options.cases,
                )


def _keep(what: str, row: Row) -> None:
    """Put a row into the results, in place of an older one of the same thing."""
    row = {**row, "run": _run()}
    content = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    kept = [one for one in content.get(what, []) if _key(one) != _key(row)]
    content[what] = [*kept, row]
    write_text(RESULTS, to_json(content))


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row.get(key) for key in KEYS)


def _run() -> Row:
    return {
        "commit": commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
