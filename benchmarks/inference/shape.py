"""What real Dice looks like: quantiles of a host's per-case Dice on a validation split, by group.

    python -m benchmarks.inference.shape benchmarks/experiments/ham10000-unet.toml

The test split is left alone. The simulation draws its skewed cohorts from the stored quantiles.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import skew

from apple_seg.config import read_experiment
from apple_seg.files import to_json_line, write_text
from apple_seg.measure import score
from apple_seg.workflow import pipeline_of, wrapped

SHAPE = Path(__file__).parent / "ham10000-dice.json"
_QUANTILES = 201


def main() -> None:
    """Score the validation split and store the quantiles."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", type=Path)
    options = parser.parse_args()
    experiment = read_experiment(options.experiment)
    cases = experiment.cohort.read().split(experiment.splits.validation)
    with wrapped(experiment, cases) as segmentor:
        predict = pipeline_of(experiment, segmentor, cases).deployed
        dice = score(predict, cases, metrics=["dice"])["dice"].to_numpy(dtype=float)
    codes, labels = experiment.groups.codes(cases.table), experiment.groups.labels
    by_group = {label: describe(dice[codes == code]) for code, label in enumerate(labels)}
    result = {
        "host": options.experiment.stem,
        "split": experiment.splits.validation,
        "all": describe(dice[codes >= 0]),
        "by_group": by_group,
    }
    write_text(SHAPE, to_json_line(result))
    for label, one in {"all": result["all"], **by_group}.items():
        print(label, {name: value for name, value in one.items() if name != "quantiles"})


def describe(dice: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    """Return the shape of Dice (N,) in numbers, and its quantiles in ascending order."""
    known = dice[np.isfinite(dice)]
    return {
        "cases": len(known),
        "mean": round(float(known.mean()), 4),
        "sd": round(float(known.std(ddof=1)), 4),
        "skewness": round(float(skew(known)), 2),
        "below_half": round(float((known < 0.5).mean()), 4),
        "zero": round(float((known == 0).mean()), 4),
        "quantiles": np.quantile(known, np.linspace(0, 1, _QUANTILES)).round(4).tolist(),
    }


if __name__ == "__main__":
    main()
