"""Does the audit say what is so? Verdicts on cohorts whose truth is planted, counted over seeds.

    python -m benchmarks.planted            # 100 seeds of each scenario, a few minutes

Every cohort has 200 cases a group, in patients of one to three cases; an oracle returns masks of
the planted Dice, which is Beta distributed with a standard deviation of 0.1.
"""

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from apple_seg.audit import AuditSettings, compare
from apple_seg.data.oracle import plant
from apple_seg.data.planted import PlantedCohort
from apple_seg.files import to_json, write_text
from benchmarks.run import commit

SCENARIOS: Mapping[str, Mapping[str, Any]] = {
    "nothing planted": {},
    "a difference of 0.05": {"means": {"A": 0.85, "B": 0.80}},
    "the better group lost 0.03": {
        "means": {"A": 0.85, "B": 0.80},
        "changes": {"A": -0.03, "B": 0.0},
    },
    "the worse group gained 0.03": {
        "means": {"A": 0.85, "B": 0.80},
        "changes": {"A": 0.0, "B": 0.03},
    },
}
SETTINGS = AuditSettings(metrics=("dice",), gallery=0, resamples=0, permutations=0)


def main() -> None:
    """Run every scenario and write the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=100)
    options = parser.parse_args()
    counted = {}
    for name in SCENARIOS:
        counted[name] = tally(name, range(options.seeds))
        print(f"{name}: {counted[name]}", flush=True)
    result = {"cases_per_group": 200, "seeds": options.seeds, "commit": commit()}
    path = Path(__file__).parent / "results" / "planted.json"
    write_text(path, to_json({**result, "scenarios": counted}))


def tally(scenario: str, seeds: range) -> dict[str, dict[str, int]]:
    """Count the two verdicts over seeds."""
    differences: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    for seed in tqdm(seeds, scenario, leave=False):
        planted = plant(PlantedCohort(**SCENARIOS[scenario], seed=seed))
        found = compare(
            planted.before,
            planted.after,
            planted.cohort,
            planted.groups,
            settings=SETTINGS,
            progress=False,
        )
        differences[str(found.difference_verdict.answer)] += 1
        changes[str(found.change_verdict.answer)] += 1
    return {"difference": dict(differences), "change": dict(changes)}


if __name__ == "__main__":
    main()
