"""What a lean perturber loses or gains against the published one, on validation cases only.

    python -m benchmarks.perturbers benchmarks/experiments/ham10000-unet.toml

The host gets its images with the colour channels in the wrong order, as from a scanner that it was
not trained on: there is then something to be regained, which on the set that it was trained on
there is not. Nothing is fitted or chosen on the test split.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from apple_seg.config import Experiment, read_experiment
from apple_seg.files import to_json, write_text
from apple_seg.perturb import FitResult, fit
from apple_seg.perturb.parts import Part
from apple_seg.perturb.progress import discard_checkpoint
from apple_seg.workflow import pipeline_of, wrapped
from benchmarks.run import commit, some

RESULTS = Path(__file__).parent / "results" / "perturbers.json"
SHIFT = "host.input.channels=bgr"

PERTURBERS: Mapping[str, Part] = {"lean": {"name": "lean", "rank": 64}, "residual": "residual"}


def main() -> None:
    """Fit every perturber with every seed, and write what validation said."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", type=Path)
    parser.add_argument(
        "--perturbers", nargs="+", choices=list(PERTURBERS), default=list(PERTURBERS)
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--fit-cases", type=int, default=600)
    parser.add_argument("--validation-cases", type=int, default=300)
    options = parser.parse_args()
    made_by = commit()
    experiment = read_experiment(options.experiment, [SHIFT])
    rows = []
    for row in _rows(experiment, options):
        rows.append(row)
        print(row["perturber"], row["seed"], [round(x, 4) for x in row["overall"]], flush=True)
        content = {
            "commit": made_by,
            "host": options.experiment.stem.partition("-")[2],
            "shift": SHIFT,
            "rows": rows,
        }
        write_text(RESULTS, to_json(content))


def _rows(experiment: Experiment, options: Any) -> Iterator[dict[str, Any]]:
    cohort = experiment.cohort.read()
    train = some(cohort.split(experiment.splits.fit), options.fit_cases)
    validation = some(cohort.split(experiment.splits.validation), options.validation_cases)
    for seed in options.seeds:
        for name in options.perturbers:
            method = replace(
                experiment.method, name="segmentation-only", sites="all", perturber=PERTURBERS[name]
            )
            folder = experiment.output / "shifted"
            with wrapped(replace(experiment, method=method), train) as segmentor:
                result = fit(
                    pipeline_of(experiment, segmentor, train),
                    train=train,
                    validation=validation,
                    groups=experiment.groups,
                    method=method,
                    settings=replace(experiment.fit, seed=seed),
                    replay=replace(experiment.replay, folder=folder),
                    folder=folder / f"{name}-{seed}",
                    progress=False,
                )
            discard_checkpoint(folder / f"{name}-{seed}")
            yield _row(name, seed, result)


def _row(name: str, seed: int, result: FitResult) -> dict[str, Any]:
    return {
        "perturber": name,
        "seed": seed,
        "n_fit": result.n_fit,
        "n_validation": result.n_validation,
        "trained_parameters": result.trained_parameters,
        "host_parameters": result.host_parameters,
        "overall": [one.overall for one in result.candidates],
        "by_group": [dict(one.by_group) for one in result.candidates],
        "training_seconds": list(result.training_seconds),
    }


if __name__ == "__main__":
    main()
