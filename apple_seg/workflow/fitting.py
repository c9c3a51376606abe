"""What `apple-seg fit` does."""

from pathlib import Path

from apple_seg.config import Experiment
from apple_seg.files import to_json, write_text
from apple_seg.perturb import FitResult, fit
from apple_seg.perturb.progress import LOG, discard_checkpoint
from apple_seg.ship import save
from apple_seg.workflow.running import (
    EARLIER,
    FIT,
    PERTURBER,
    Written,
    checked,
    flattered,
    looks_of,
    pipeline_of,
    placed,
    wrapped,
)


def fit_experiment(experiment: Experiment, *, progress: bool = True) -> Written:
    """Fit the perturbers on the fit split, choose on the validation split, and save them.

    A fit that was killed goes on where it was. Where a launcher started several processes they
    share each batch; the main one writes the files.
    """
    experiment, processes = placed(experiment)
    splits = experiment.splits
    bare = experiment.method.parts.target != "masks"
    both = [splits.fit, splits.validation]
    cohort = checked(experiment, both, progress=progress, processes=processes, bare=bare)
    train, validation = cohort.split(splits.fit), cohort.split(splits.validation)
    files = (experiment.output / PERTURBER, experiment.output / FIT, experiment.output / LOG)
    with wrapped(experiment, train) as segmentor:
        result: FitResult = fit(
            pipeline_of(experiment, segmentor, cohort),
            train=train,
            validation=validation,
            groups=experiment.groups,
            others=experiment.other_groups,
            method=experiment.method,
            settings=experiment.fit,
            replay=experiment.replay,
            folder=experiment.output,
            progress=progress,
        )
        notes: tuple[str, ...] = ()
        if processes.main:
            looks, notes = set_aside(files[0])
            record = {"fit": result.to_dict(), "audited": looks}
            save(segmentor, files[0], spec=experiment.host, cohort=train.digest(), record=record)
            write_text(files[1], to_json(result.to_dict()))
            discard_checkpoint(experiment.output)
    processes.wait()
    return Written(result, files, notes=notes)


def set_aside(perturber: Path) -> tuple[int, tuple[str, ...]]:
    """Rename the file of an earlier fit, which comparisons beside it may be about.

    Returns:
        How often what was fitted here has been compared on the test split, and what to say of it.
    """
    if not perturber.is_file():
        return 0, ()
    looks = looks_of(perturber)
    perturber.replace(perturber.with_name(EARLIER))
    moved = (
        f"The perturbers that were here are now {EARLIER}; a comparison in this folder is of them."
    )
    return looks, (moved, *flattered("What was fitted here before", looks))
