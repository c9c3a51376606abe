"""Hosts and scores to audits: one host, or two on the same cases."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from apple_seg.audit.auditor import audit_runs
from apple_seg.audit.comparer import compare_runs
from apple_seg.audit.comparison import Comparison
from apple_seg.audit.context import Context
from apple_seg.audit.pairs import align
from apple_seg.audit.results import Audit
from apple_seg.audit.settings import AuditSettings
from apple_seg.audit.verdicts import Change, Judgement
from apple_seg.data import Cohort, Groups
from apple_seg.measure import Predict, gathered_table, score
from apple_seg.processes import ONE, Processes

DEFAULTS = AuditSettings()


def audit(
    predict: Predict,
    cohort: Cohort,
    groups: Groups,
    *,
    others: Sequence[Groups] = (),
    settings: AuditSettings = DEFAULTS,
    caveats: Sequence[str] = (),
    progress: bool = True,
    processes: Processes = ONE,
) -> Audit:
    """Score a host on a cohort, and say whether its groups differ.

    Args:
        predict: The host as it is deployed; see `apple_seg.measure.Predict`.
        cohort: Annotated cases that nothing was chosen on.
        groups: Declared before the audit.
        others: Groups by other attributes, audited on the same scores; verdicts allow for their
            number.
        settings: What to do.
        caveats: What a reader must know, such as that clusters are lesions and not patients.
        progress: Whether to show progress bars.
        processes: Those that share the cohort; each has to call this, and each gets the result.

    Raises:
        CaseError: See `apple_seg.measure.score`.
        GroupError: A case fits no declared group.
    """
    run = _Scoring(cohort, settings, progress, processes)
    table = run.table([groups, *others])  # a wrong declaration shows before the work, not after
    scores = run.score(predict, "scoring the host")
    result = audit_scores(scores, table, groups, others=others, settings=settings, caveats=caveats)
    if not run.pictured:
        return result
    from apple_seg.audit.gallery import draw_cases

    pictures = processes.from_main(lambda: draw_cases(result, cohort, predict))
    return replace(result, pictures=pictures)


def compare(
    host: Predict,
    perturbed: Predict | Sequence[Predict],
    cohort: Cohort,
    groups: Groups,
    *,
    others: Sequence[Groups] = (),
    settings: AuditSettings = DEFAULTS,
    caveats: Sequence[str] = (),
    progress: bool = True,
    processes: Processes = ONE,
) -> Comparison:
    """Score a host and its perturbed self on the same cases, and say what changed.

    The arguments are those of `audit`; each predictor goes through the cohort once, the host's
    first, and once more through the cases that are pictured. Of several perturbed hosts, one a
    training run, the first is pictured; see `compare_scores`.
    """
    run = _Scoring(cohort, settings, progress, processes)
    table = run.table([groups, *others])
    before = run.score(host, "scoring the host")
    runs = [perturbed] if callable(perturbed) else list(perturbed)
    after = [run.score(one, "scoring the perturbed host") for one in runs]
    result = compare_scores(
        before, after, table, groups, others=others, settings=settings, caveats=caveats
    )
    if not run.pictured:
        return result
    from apple_seg.audit.gallery import draw_cases

    pictures = processes.from_main(lambda: draw_cases(result, cohort, host, runs[0]))
    return replace(result, pictures=pictures)


def audit_scores(
    scores: pd.DataFrame,
    table: pd.DataFrame,
    groups: Groups,
    *,
    others: Sequence[Groups] = (),
    settings: AuditSettings = DEFAULTS,
    caveats: Sequence[str] = (),
) -> Audit:
    """Audit a host by its scores; no segmentor is needed.

    Args:
        scores: What `apple_seg.measure.score` returns, of one run or averaged over several.
        table: A row a case, with `case` and the columns that `groups` names.
        groups: See `audit`.
        others: See `audit`.
        settings: See `audit`.
        caveats: See `audit`.

    Raises:
        CaseError: Scores and table do not hold the same cases.
        ConfigError: The scores lack the metric of the verdict.
    """
    first, *more = (
        audit_runs(Context.of(one, scores, table, settings, caveats, 1 + len(others)), [scores])
        for one in (groups, *others)
    )
    return replace(first, others=tuple(more))


def compare_scores(
    host: pd.DataFrame,
    perturbed: pd.DataFrame | Sequence[pd.DataFrame],
    table: pd.DataFrame,
    groups: Groups,
    *,
    others: Sequence[Groups] = (),
    settings: AuditSettings = DEFAULTS,
    caveats: Sequence[str] = (),
) -> Comparison:
    """Compare two hosts by their scores; no segmentor is needed.

    A class of a case that only one of them has a score for is left out of both, and counted.

    Args:
        host: Scores of the host as deployed.
        perturbed: Scores of the perturbed host, of the same cases in any order; or such a table a
            training run (seed), and then intervals allow for what another training would change.
        table: See `audit_scores`.
        groups: See `audit`.
        others: See `audit`.
        settings: See `audit`.
        caveats: See `audit`.

    Raises:
        CaseError: The tables do not hold the same cases.
        ConfigError: The scores lack the metric of the verdict.
    """
    runs = [perturbed] if isinstance(perturbed, pd.DataFrame) else list(perturbed)
    host = host.reset_index(drop=True)
    runs = [align(host, run) for run in runs]
    first, *more = (
        compare_runs(Context.of(one, host, table, settings, caveats, 1 + len(others)), host, runs)
        for one in (groups, *others)
    )
    return replace(first, others=tuple(more), change_verdict=_with_harms(first, more))


def _with_harms(first: Comparison, more: Sequence[Comparison]) -> Judgement:
    """Return the first attribute's verdict, or the harm that another attribute's groups suffered.

    A perturber that helps the old and harms women has harmed.
    """
    harms = [one for one in more if one.change_verdict.answer is Change.HARMED]
    if first.change_verdict.answer is Change.HARMED or not harms:
        return first.change_verdict
    reasons = [
        f"by {one.attribute}: {reason}" for one in harms for reason in one.change_verdict.reasons
    ]
    said = f"by {first.attribute} alone: {first.change_verdict.answer}"
    return Judgement(answer=Change.HARMED, reasons=(*reasons, said))


@dataclass(frozen=True)
class _Scoring:
    """What is the same for each host that goes through a cohort."""

    cohort: Cohort
    settings: AuditSettings
    progress: bool
    processes: Processes

    @property
    def pictured(self) -> bool:
        """Whether cases are drawn: volumes that were gathered of slices are not."""
        return bool(self.settings.gallery) and self.settings.gather is None

    def table(self, groups: Sequence[Groups]) -> pd.DataFrame:
        """Return a row a case that is scored, after a look at its groups.

        Raises:
            GroupError: A case fits no declared group.
            CaseError: Slices of one volume are of different groups.
        """
        table, gather = self.cohort.table, self.settings.gather
        if gather is not None:
            named = (column for one in groups for column in one.by)
            more = (*self.settings.covariates, *(self.settings.curves or ()))
            table = gathered_table(table, gather, [*named, *more])
        for one in groups:
            one.codes(table)
        return table

    def score(self, predict: Predict, description: str) -> pd.DataFrame:
        """Score one of them."""
        return score(
            predict,
            self.cohort,
            metrics=self.settings.reported,
            tolerance=self.settings.tolerance,
            batch_size=self.settings.batch_size,
            gather=self.settings.gather,
            thickness=self.settings.thickness,
            progress=self.progress,
            description=description,
            processes=self.processes,
        )
