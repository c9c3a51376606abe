"""What all commands need: a host built and wrapped, cases that were looked at, files written."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from apple_seg.audit import Audit, Comparison, SiteSurvey
from apple_seg.audit.report import ModelCard
from apple_seg.config import Experiment
from apple_seg.data import Cohort
from apple_seg.errors import ArtifactError, CaseError, ConfigError
from apple_seg.host import PerturbedSegmentor, Pipeline, prepare, wrap
from apple_seg.names import meant
from apple_seg.perturb import build_perturber
from apple_seg.perturb.parts import Part, name_and_options
from apple_seg.processes import ONE, Processes, launched
from apple_seg.ship import attach, read_artifact

PERTURBER, FIT, AUDIT, COMPARISON = "perturber.safetensors", "fit.json", "audit", "comparison"
EARLIER = "perturber.earlier.safetensors"
SKIN_TONES, SITES = "cases-with-ita.csv", "sites.json"
"""Names of the results in an experiment's output folder."""


def looks_of(perturber: Path) -> int:
    """Return how often a perturber file, or what stood there before it, has been compared."""
    try:
        return int(read_artifact(perturber)[0].record.get("audited", 0))
    except ArtifactError:
        return 0


def flattered(which: str, looks: int) -> tuple[str, ...]:
    """Say what comparisons on the test split do to what is chosen after them, if there were any."""
    if not looks:
        return ()
    times = "once" if looks == 1 else f"{looks} times"
    return (
        f"{which} has been compared on the test split {times}. What is chosen after such a look is "
        "chosen on the test split too, and its numbers flatter.",
    )


@dataclass(frozen=True)
class Written:
    """A result and the files that it was written to."""

    result: Any
    files: tuple[Path, ...]

    audited: int = 1
    """How often this perturber file, or what was fitted there before it, has been compared."""

    notes: tuple[str, ...] = ()
    """What else is to be known, in sentences."""


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
        sites=sites or experiment.method.parts.sites,
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


def perturber_shares(segmentor: PerturbedSegmentor, perturber: Part) -> list[float]:
    """Return the size of a perturber at each site, as a share of the host's parameters."""
    size = sum(value.numel() for value in segmentor.host.parameters())
    name, options = name_and_options(perturber)
    made = [
        build_perturber({"name": name, "channels": one.channels, "cells": one.cells, **options})
        for one in segmentor.shapes
    ]
    return [sum(value.numel() for value in module.parameters()) / size for module in made]


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
    experiment: Experiment,
    splits: Sequence[str],
    *,
    progress: bool,
    processes: Processes = ONE,
    bare: bool = False,
) -> Cohort:
    """Read the manifest and look at every case of these splits before work starts.

    The main process does, and the others get what it read. Cases may lack masks where `bare`.
    """
    cohort = processes.from_main(
        lambda: experiment.cohort.read_checked(experiment.groups, splits=splits, progress=progress)
    )
    if progress and processes.main:
        used = [experiment.splits.fit, experiment.splits.validation, experiment.splits.audit]
        for name, number in cohort.table["split"].value_counts().items():
            if name and name not in used:
                split = f"split {name!r}{meant(str(name), used)}"
                tqdm.write(f"cases in {split}, which is not used: {number}", file=sys.stderr)
    return cohort if bare else annotated(cohort, splits)


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
    result: Audit | Comparison,
    stem: Path,
    processes: Processes = ONE,
    *,
    sites: SiteSurvey | None = None,
    card: ModelCard | None = None,
) -> tuple[Path, ...]:
    """Write JSON, the per-case CSV, and the report in HTML and Markdown, in one process.

    Args:
        result: What was found.
        stem: Path without suffix.
        processes: Those that share the work; the main one writes.
        sites: What a survey found, for the report.
        card: What is known of the segmentor, for the report.
    """
    json_, csv, html, md = (
        stem.with_suffix(suffix) for suffix in (".json", ".csv", ".html", ".md")
    )
    if processes.main:
        result.to_json(json_)
        result.to_csv(csv)
        said = {"sites": sites, "card": card or ModelCard()}
        result.to_html(html, **said)
        result.to_markdown(md, **said)
    return json_, csv, html, md


def card_of(experiment: Experiment, perturber: Path | None = None) -> ModelCard:
    """Return the experiment's model card, with what is known of host and perturber filled in."""
    host = experiment.host
    known = {"segmentor": host.factory}
    if host.checkpoint is not None:
        known["checkpoint"] = Path(host.checkpoint).name
    if perturber is not None:
        artifact, _ = read_artifact(perturber)
        known["fingerprint of the segmentor"] = artifact.fingerprint
        fitted = artifact.record.get("fit", {})
        parts = [f"{perturber.name}, at {', '.join(map(str, artifact.sites))}"]
        if fitted:
            parts.append(f"{fitted['trained_parameters']:,} parameters")
            parts.append(f"fitted on {fitted['n_fit']:,} cases")
            if fitted.get("selected", {}).get("epoch") == 0:
                parts.append("the identity was kept: they change nothing")
        if len(artifact.views) > 1:
            parts.append(f"answers by the vote of {len(artifact.views)} views")
        known["perturber"] = "; ".join(parts)
    return replace(experiment.card, details={**known, **experiment.card.details})
