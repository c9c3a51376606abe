"""What `apple-seg audit` and `apple-seg compare` do, with the host itself."""

from pathlib import Path

from apple_seg.audit import Audit, Comparison
from apple_seg.audit import audit as run_audit
from apple_seg.audit import compare as run_comparison
from apple_seg.config import Experiment
from apple_seg.processes import Processes
from apple_seg.ship import Artifact, read_artifact, save
from apple_seg.workflow.running import (
    AUDIT,
    COMPARISON,
    Written,
    attach_experiment,
    card_of,
    caveats,
    checked,
    perturber_of,
    pipeline_of,
    placed,
    wrapped,
    write_result,
)
from apple_seg.workflow.surveying import survey_experiment


def audit_experiment(
    experiment: Experiment, *, sites: bool = False, progress: bool = True
) -> Written:
    """Audit the host as deployed on the audit split; no perturber takes part.

    Where a launcher started several processes they share the cases; the main one writes the files.

    Args:
        experiment: What is audited.
        sites: Whether to survey the sites too, on the validation split, for the report.
        progress: Whether to show progress bars.
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
    files = _write(result, experiment, None, processes, sites=sites, progress=progress)
    processes.wait()
    return Written(result, files)


def compare_experiment(
    experiment: Experiment,
    perturber: Path | None = None,
    *,
    sites: bool = False,
    progress: bool = True,
) -> Written:
    """Audit the host and the perturbed host on the same cases of the audit split.

    The numbers are added to the perturber file, and how often it has been audited: a choice
    between several looks at the same cases would be one made on them. Where a launcher started
    several processes they share the cases; the main one writes the files.

    Args:
        experiment: What is audited.
        perturber: The file; None takes the one in the output folder.
        sites: Whether to survey the sites too, on the validation split, for the report.
        progress: Whether to show progress bars.
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
            caveats=(*caveats(experiment), *_voting(artifact)),
            progress=progress,
            processes=processes,
        )
        # Before the perturber file is touched: where that fails, the comparison is not lost.
        files = _write(result, experiment, path, processes, sites=False, progress=progress)
        times = int(artifact.record.get("audited", 0)) + 1
        record = {**artifact.record, "audit": result.to_dict(), "audited": times}
        if processes.main:
            save(segmentor, path, spec=experiment.host, cohort=artifact.cohort, record=record)
    finally:
        segmentor.detach()
    if sites:
        files = _write(result, experiment, path, processes, sites=True, progress=progress)
    processes.wait()
    return Written(result, (*files, path), times)


def _voting(artifact: Artifact) -> tuple[str, ...]:
    """Return what is compared with what, where the perturbed host has several views."""
    if len(artifact.views) == 1:
        return ()
    kept = artifact.record.get("fit", {}).get("selected", {}).get("epoch")
    part = "all" if kept == 0 else "part"
    return (
        f"The perturbed host answers by the vote of {len(artifact.views)} views, at as many passes "
        f"a case, the host as deployed in one: {part} of the change is the vote's.",
    )


def _write(
    result: Audit | Comparison,
    experiment: Experiment,
    perturber: Path | None,
    processes: Processes,
    *,
    sites: bool,
    progress: bool,
) -> tuple[Path, ...]:
    """Write a result; with `sites`, survey them and write the report once more, with them."""
    stem = experiment.output / (AUDIT if isinstance(result, Audit) else COMPARISON)
    card = card_of(experiment, perturber)
    files = write_result(result, stem, processes, card=card)
    if sites and processes.main:
        surveyed = survey_experiment(experiment, perturber, progress=progress)
        files = write_result(result, stem, card=card, sites=surveyed.result)
    return files
