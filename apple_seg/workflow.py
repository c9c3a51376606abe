"""What the commands do, as functions of one experiment."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from apple_seg.audit import Audit, Comparison
from apple_seg.audit import audit as run_audit
from apple_seg.audit import compare as run_comparison
from apple_seg.config import Experiment
from apple_seg.data import Cohort
from apple_seg.data.cohort import CLUSTER, KEY, MASK, SPLIT
from apple_seg.errors import CaseError, ConfigError
from apple_seg.files import to_json, write_text
from apple_seg.host import PerturbedSegmentor, Pipeline, prepare, wrap
from apple_seg.measure import ITA_COLUMN, with_ita
from apple_seg.perturb import FitResult, build_perturber, fit
from apple_seg.perturb.progress import LOG, discard_checkpoint
from apple_seg.processes import ONE, Processes, launched
from apple_seg.ship import attach, read_artifact, save

PERTURBER, FIT, AUDIT, COMPARISON = "perturber.safetensors", "fit.json", "audit", "comparison"
SKIN_TONES = "cases-with-ita.csv"
"""Names of the results in an experiment's output folder."""


@dataclass(frozen=True)
class Written:
    """A result and the files that it was written to."""

    result: Any
    files: tuple[Path, ...]

    audited: int = 1
    """How often this perturber file has been compared."""


@contextmanager
def wrapped(
    experiment: Experiment, cohort: Cohort, sites: Any = None
) -> Iterator[PerturbedSegmentor]:
    """Build the host, wrap it at its sites, and take every hook off again at the end."""
    host = experiment.host.build(experiment.device)
    inputs = prepare([cohort[0]], experiment.host)
    weights = next(host.parameters())
    segmentor = wrap(
        host,
        inputs.images.to(weights),
        sites=sites or experiment.method.sites,
        segment=experiment.host.segment_function(),
        prompts={name: value.to(weights) for name, value in inputs.prompts.items()},
    )
    try:
        yield segmentor
    finally:
        segmentor.detach()


def pipeline_of(experiment: Experiment, segmentor: PerturbedSegmentor, cohort: Cohort) -> Pipeline:
    """Return the host as it is deployed, for the cohort's classes."""
    return Pipeline(segmentor, experiment.host, list(cohort.classes))


def perturber_shares(segmentor: PerturbedSegmentor, perturber: str) -> list[float]:
    """Return the size of a perturber at each site, as a share of the host's parameters."""
    size = sum(value.numel() for value in segmentor.host.parameters())
    made = [
        build_perturber({"name": perturber, "channels": one.channels, "cells": one.cells})
        for one in segmentor.shapes
    ]
    return [sum(value.numel() for value in module.parameters()) / size for module in made]


def fit_experiment(experiment: Experiment, *, progress: bool = True) -> Written:
    """Fit the perturbers on the fit split, choose on the validation split, and save them.

    A fit that was killed goes on where it was. Where a launcher started several processes they
    share each batch; the main one writes the files.
    """
    experiment, processes = placed(experiment)
    splits = experiment.splits
    both = [splits.fit, splits.validation]
    cohort = checked(experiment, both, progress=progress, processes=processes)
    train, validation = cohort.split(splits.fit), cohort.split(splits.validation)
    files = (experiment.output / PERTURBER, experiment.output / FIT, experiment.output / LOG)
    with wrapped(experiment, train) as segmentor:
        result: FitResult = fit(
            pipeline_of(experiment, segmentor, cohort),
            train=train,
            validation=validation,
            groups=experiment.groups,
            method=experiment.method,
            settings=experiment.fit,
            replay=experiment.replay,
            folder=experiment.output,
            progress=progress,
        )
        if processes.main:
            record = {"fit": result.to_dict()}
            save(segmentor, files[0], spec=experiment.host, cohort=train.digest(), record=record)
            write_text(files[1], to_json(result.to_dict()))
            discard_checkpoint(experiment.output)
    processes.wait()
    return Written(result, files)


def audit_experiment(experiment: Experiment, *, progress: bool = True) -> Written:
    """Audit the host as deployed on the audit split; no perturber takes part.

    Where a launcher started several processes they share the cases; the main one writes the files.
    """
    experiment, processes = placed(experiment)
    cohort = checked(experiment, [experiment.splits.audit], progress=progress, processes=processes)
    cases = cohort.split(experiment.splits.audit)
    with wrapped(experiment, cases) as segmentor:
        result: Audit = run_audit(
            pipeline_of(experiment, segmentor, cases).deployed,
            cases,
            experiment.groups,
            others=experiment.other_groups,
            settings=experiment.audit,
            caveats=caveats(experiment),
            progress=progress,
            processes=processes,
        )
    files = write_result(result, experiment.output / AUDIT, processes)
    processes.wait()
    return Written(result, files)


def compare_experiment(
    experiment: Experiment, perturber: Path | None = None, *, progress: bool = True
) -> Written:
    """Audit the host and the perturbed host on the same cases of the audit split.

    The numbers are added to the perturber file, and how often it has been audited: a choice
    between several looks at the same cases would be one made on them. Where a launcher started
    several processes they share the cases; the main one writes the files.
    """
    experiment, processes = placed(experiment)
    path = perturber_of(experiment, perturber)
    cohort = checked(experiment, [experiment.splits.audit], progress=progress, processes=processes)
    cases = cohort.split(experiment.splits.audit)
    artifact, _ = read_artifact(path)
    segmentor = attach_experiment(experiment, path)
    try:
        pipeline = pipeline_of(experiment, segmentor, cases)
        result: Comparison = run_comparison(
            pipeline.deployed,
            pipeline,
            cases,
            experiment.groups,
            others=experiment.other_groups,
            settings=experiment.audit,
            caveats=caveats(experiment),
            progress=progress,
            processes=processes,
        )
        files = write_result(result, experiment.output / COMPARISON, processes)
        times = int(artifact.record.get("audited", 0)) + 1
        record = {**artifact.record, "audit": result.to_dict(), "audited": times}
        if processes.main:
            save(segmentor, path, spec=experiment.host, cohort=artifact.cohort, record=record)
    finally:
        segmentor.detach()
    processes.wait()
    return Written(result, (*files, path), times)


def estimate_skin_tone(
    experiment: Experiment, *, maximum: float = 255.0, progress: bool = True
) -> Written:
    """Estimate every annotated case's skin tone, and write the manifest with that column.

    Args:
        experiment: Its cohort is read, whatever the split; cases without a mask get no estimate.
        maximum: What white is in the image files.
        progress: Whether to show a progress bar.
    """
    cohort = experiment.cohort.read()
    known = cohort.take(cohort.table.index[cohort.table[MASK] != ""].to_numpy())
    found = with_ita(known, maximum=maximum, progress=progress).table[ITA_COLUMN]
    declared = experiment.cohort
    own = {declared.image, declared.mask, declared.cluster, declared.split}
    added = [role for role in (KEY, CLUSTER, MASK, SPLIT) if role not in own]
    table = cohort.table.drop(columns=added).assign(**{ITA_COLUMN: found.round(1)})
    path = experiment.output / SKIN_TONES
    write_text(path, table.to_csv(index=False))
    return Written(_say_tones(table[ITA_COLUMN]), (path,))


def _say_tones(values: "pd.Series[float]") -> str:
    """Say how the estimates lie, and how many cannot be skin's."""
    low, middle, high = values.quantile([0.05, 0.5, 0.95])
    blue = int((values > 90).sum())
    said = (
        f"{int(values.notna().sum())} of {len(values)} cases have an estimate: median "
        f"{middle:.0f} degrees, from {low:.0f} to {high:.0f} for nine in ten."
    )
    return said + (
        f" {blue} lie above 90, which skin does not: the white balance of these images is off, and "
        "their order may be that of cameras and not of skins."
        if blue
        else ""
    )


def attach_experiment(experiment: Experiment, perturber: Path | None = None) -> PerturbedSegmentor:
    """Build the host from its own checkpoint and attach the perturbers, as production would."""
    host = experiment.host.build(experiment.device)
    return attach(
        host,
        perturber_of(experiment, perturber),
        spec=experiment.host,
        segment=experiment.host.segment_function(),
    )


def perturber_of(experiment: Experiment, perturber: Path | None) -> Path:
    """Return the perturber file that is meant.

    Raises:
        ConfigError: It is not there.
    """
    path = perturber or experiment.output / PERTURBER
    if not path.is_file():
        raise ConfigError(f"no perturber at {path}; run `apple-seg fit` first, or name the file")
    return path


def placed(experiment: Experiment) -> tuple[Experiment, Processes]:
    """Return the experiment on this process's own device, and the processes that share it."""
    processes = launched(experiment.device)
    return replace(experiment, device=processes.device), processes


def checked(
    experiment: Experiment, splits: Sequence[str], *, progress: bool, processes: Processes = ONE
) -> Cohort:
    """Read the manifest and look at every case of these splits before work starts.

    The main process does, and the others get what it read.
    """
    cohort = processes.from_main(
        lambda: experiment.cohort.read_checked(experiment.groups, splits=splits, progress=progress)
    )
    return annotated(cohort, splits)


def annotated(cohort: Cohort, splits: Sequence[str]) -> Cohort:
    """Return a cohort after a look that all cases of these splits have masks.

    Raises:
        CaseError: Some have none.
    """
    for split in splits:
        table = cohort.split(split).table
        if len(bare := table.index[table["mask"] == ""]):
            rows = ", ".join(str(row + 2) for row in bare[:5])
            raise CaseError(
                f"{len(bare)} of {len(table)} cases of split {split!r} have no mask (rows {rows}, "
                "...), and this needs masks: annotate them, or put them into another split"
            )
    return cohort


def caveats(experiment: Experiment) -> tuple[str, ...]:
    """Return what a reader must know: the experiment's own words, and ground-truth prompts."""
    prompt = experiment.host.prompt
    if not prompt.from_truth:
        return experiment.caveats
    return (
        *experiment.caveats,
        f"Ground-truth prompt: the {prompt.kind} that the host is given comes from the true mask "
        f"(jitter {prompt.jitter:g}, seed {prompt.seed}), the same before and after.",
    )


def write_result(
    result: Audit | Comparison, stem: Path, processes: Processes = ONE
) -> tuple[Path, ...]:
    """Write JSON, the per-case CSV and the HTML report beside each other, in one process."""
    json_, csv, html = (stem.with_suffix(suffix) for suffix in (".json", ".csv", ".html"))
    if processes.main:
        result.to_json(json_)
        result.to_csv(csv)
        result.to_html(html)
    return json_, csv, html
