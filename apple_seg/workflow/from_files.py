"""Audits that need no segmentor: of masks that were predicted elsewhere, or of finished scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apple_seg.audit import (
    Audit,
    AuditSettings,
    Comparison,
    audit,
    audit_scores,
    compare,
    compare_scores,
)
from apple_seg.audit.report import ModelCard
from apple_seg.config import Splits, read_tables, validated
from apple_seg.data import Cohort, Groups, Manifest
from apple_seg.data.manifest import check_values
from apple_seg.errors import ConfigError
from apple_seg.measure import ScoreTable, read_scores, stored_masks
from apple_seg.processes import started
from apple_seg.workflow.running import AUDIT, COMPARISON, Written, annotated, write_result


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The `[predictions]` table: masks in files, in place of a `[host]`.

    A case's file has the path or the name of its true mask or of its image, or is named by a column
    of the manifest; its values mean what they mean in the true masks.
    """

    __pydantic_config__ = {"extra": "forbid"}

    host: Path
    """Folder or zip, relative to the experiment file."""

    perturbed: tuple[Path, ...] = ()
    """The same of the host that it is compared with: one, or one a training run."""

    column: str | None = None
    """Of the manifest: the file of each case, relative to the folder or zip."""


@dataclass(frozen=True, kw_only=True)
class MasksExperiment:
    """What a TOML file with `[predictions]` says."""

    __pydantic_config__ = {"extra": "forbid"}

    predictions: Predictions
    cohort: Manifest
    groups: Groups
    other_groups: tuple[Groups, ...] = ()
    splits: Splits = field(default_factory=Splits)
    audit: AuditSettings = field(default_factory=AuditSettings)
    card: ModelCard = field(default_factory=ModelCard)
    output: Path = Path("runs")
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ScoreFiles:
    """Tables of per-case scores, and what is known of the cases; see `measure.read_scores`."""

    __pydantic_config__ = {"extra": "forbid"}

    host: Path
    perturbed: tuple[Path, ...] = ()
    attributes: Path | None = None
    kind: str | None = None
    case: str | None = None
    on: str | None = None
    cluster: str | None = None

    def read(self, path: Path) -> ScoreTable:
        """Read one of the tables.

        Raises:
            CaseError: See `read_scores`.
        """
        return read_scores(
            path,
            kind=self.kind,
            case=self.case,
            attributes=self.attributes,
            on=self.on,
            cluster=self.cluster,
        )


@dataclass(frozen=True, kw_only=True)
class ScoresExperiment:
    """What is asked of tables of scores."""

    __pydantic_config__ = {"extra": "forbid"}

    scores: ScoreFiles
    groups: Groups
    other_groups: tuple[Groups, ...] = ()
    audit: AuditSettings = field(default_factory=AuditSettings)
    output: Path = Path("runs")
    caveats: tuple[str, ...] = ()


def holds_predictions(path: Path, overrides: Sequence[str] = ()) -> bool:
    """Return whether an experiment file names masks in files."""
    return "predictions" in read_tables(path, overrides)


def read_masks_experiment(path: Path, overrides: Sequence[str] = ()) -> MasksExperiment:
    """Read an experiment file with `[predictions]`; what it says of a host is passed over.

    Raises:
        ConfigError: See `read_experiment`.
    """
    tables = read_tables(path, overrides)
    kept = {name: value for name, value in tables.items() if name not in _HOSTS_OWN}
    return validated(MasksExperiment, kept, str(path))


_HOSTS_OWN = ("host", "method", "fit", "replay", "survey", "device")


def groups_of(by: Sequence[str], references: Sequence[str]) -> list[dict[str, Any]]:
    """Read groups as the command line has them: `age=60`, `sex=female,male`, crossed by `;`.

    Raises:
        ConfigError: One has no `=`, or there are not as many references.
    """
    if len(by) != len(references):
        raise ConfigError(
            f"one --reference for each --by: got {len(by)} of --by and {len(references)} of "
            "--reference"
        )
    return [
        {"by": dict(map(_declared, text.split(";"))), "reference": reference}
        for text, reference in zip(by, references, strict=True)
    ]


def _declared(text: str) -> tuple[str, list[Any]]:
    column, equals, listed = text.partition("=")
    if not (equals and column.strip() and listed.strip()):
        raise ConfigError(
            f"--by is COLUMN=CUTS or COLUMN=VALUES, such as age=60 or sex=female,male; got {text!r}"
        )
    words: list[Any] = [word.strip() for word in listed.split(",")]
    try:
        return column.strip(), [float(word) for word in words]
    except ValueError:
        return column.strip(), words


def scores_experiment(tables: Mapping[str, Any]) -> ScoresExperiment:
    """Check what the command line asks of tables of scores.

    Raises:
        ConfigError: A value is missing or of the wrong kind.
    """
    return validated(ScoresExperiment, tables, "the options")


def audit_masks(experiment: MasksExperiment, *, progress: bool = True) -> Written:
    """Audit the host's masks in files."""
    whole, cases = _cases(experiment)
    named = experiment.predictions
    result: Audit = audit(
        stored_masks(named.host, cases, column=named.column, whole=whole),
        cases,
        experiment.groups,
        others=experiment.other_groups,
        settings=experiment.audit,
        caveats=experiment.caveats,
        progress=progress,
    )
    return Written(result, write_result(result, experiment.output / AUDIT, card=experiment.card))


def compare_masks(experiment: MasksExperiment, *, progress: bool = True) -> Written:
    """Compare the masks of two hosts, in files.

    Raises:
        ConfigError: No perturbed host's masks are named.
    """
    named = experiment.predictions
    if not named.perturbed:
        raise ConfigError(
            "[predictions] names the masks of the host only; name those that it is compared with "
            "as `perturbed`, or run `apple-seg audit`"
        )
    whole, cases = _cases(experiment)
    host, *perturbed = (
        stored_masks(root, cases, column=named.column, whole=whole)
        for root in (named.host, *named.perturbed)
    )
    result: Comparison = compare(
        host,
        perturbed,
        cases,
        experiment.groups,
        others=experiment.other_groups,
        settings=experiment.audit,
        caveats=experiment.caveats,
        progress=progress,
    )
    files = write_result(result, experiment.output / COMPARISON, card=experiment.card)
    return Written(result, files)


def audit_tables(experiment: ScoresExperiment) -> Written:
    """Audit a table of scores, or compare it with others."""
    if experiment.audit.gather is not None:
        raise ConfigError(
            "finished scores cannot be gathered to volumes: slices are, while they are scored; "
            "leave audit.gather out, or audit the masks themselves"
        )
    files = experiment.scores
    host = files.read(files.host)
    runs = [files.read(path) for path in files.perturbed]
    settings, others = experiment.audit, experiment.other_groups
    said = (caveat for table in (host, *runs) for caveat in table.caveats)
    caveats = tuple(dict.fromkeys((*experiment.caveats, *said)))
    if not runs:
        audited = audit_scores(
            host.scores,
            host.table,
            experiment.groups,
            others=others,
            settings=settings,
            caveats=caveats,
        )
        return Written(audited, write_result(audited, experiment.output / AUDIT))
    compared = compare_scores(
        host.scores,
        [run.scores for run in runs],
        host.table,
        experiment.groups,
        others=others,
        settings=settings,
        caveats=caveats,
    )
    return Written(compared, write_result(compared, experiment.output / COMPARISON))


def _cases(experiment: MasksExperiment) -> tuple[Cohort, Cohort]:
    """Return all cases of the manifest, and those of the audit split.

    Masks are read once, when they are scored, and images where cases are drawn.
    """
    if started() > 1:
        raise ConfigError(
            f"masks in files are scored in one process, and {started()} were started: run it "
            "without `accelerate launch` or torchrun"
        )
    split = experiment.splits.audit
    whole = annotated(experiment.cohort.read(), [split])
    cases = whole.split(split)
    if experiment.audit.gather is None:  # else groups are of volumes, which have no line
        by = (experiment.groups, *experiment.other_groups)
        check_values(cases, by, experiment.cohort.manifest)
    return whole, cases
