"""Scores to what can be said of the groups: one host, or two on the same cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apple_seg.audit.cases import SIZES, UNKNOWN_LABEL, align, count, group_codes, pair, per_case
from apple_seg.audit.figures import Design, Disaggregated, disaggregate, estimate_difference
from apple_seg.audit.limits import notes
from apple_seg.audit.results import Audit, Comparison
from apple_seg.audit.settings import AuditSettings
from apple_seg.audit.verdicts import Followed, judge_change, judge_difference
from apple_seg.data import UNKNOWN, Cohort, Groups
from apple_seg.errors import ConfigError
from apple_seg.measure import POLICIES, Predict, apply_policy, score
from apple_seg.processes import ONE, Processes

DEFAULTS = AuditSettings()


def audit(
    predict: Predict,
    cohort: Cohort,
    groups: Groups,
    *,
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
        settings: What to do.
        caveats: What a reader must know, such as that clusters are lesions and not patients.
        progress: Whether to show progress bars.
        processes: Those that share the cohort; each has to call this, and each gets the result.

    Raises:
        CaseError: See `apple_seg.measure.score`.
        GroupError: A case fits no declared group.
    """
    groups.codes(cohort.table)  # a wrong declaration shows before the work, not after
    run = _Scoring(cohort, settings, progress, processes)
    scores = run.score(predict, "scoring the host")
    result = audit_scores(scores, cohort.table, groups, settings=settings, caveats=caveats)
    if not settings.gallery:
        return result
    from apple_seg.audit.gallery import draw_cases

    pictures = processes.from_main(lambda: draw_cases(result, cohort, predict))
    return replace(result, pictures=pictures)


def compare(
    host: Predict,
    perturbed: Predict,
    cohort: Cohort,
    groups: Groups,
    *,
    settings: AuditSettings = DEFAULTS,
    caveats: Sequence[str] = (),
    progress: bool = True,
    processes: Processes = ONE,
) -> Comparison:
    """Score a host and its perturbed self on the same cases, and say what changed.

    The arguments are those of `audit`; each predictor goes through the cohort once, the host's
    first, and once more through the cases that are pictured.
    """
    groups.codes(cohort.table)
    run = _Scoring(cohort, settings, progress, processes)
    before = run.score(host, "scoring the host")
    after = run.score(perturbed, "scoring the perturbed host")
    result = compare_scores(before, after, cohort.table, groups, settings=settings, caveats=caveats)
    if not settings.gallery:
        return result
    from apple_seg.audit.gallery import draw_cases

    pictures = processes.from_main(lambda: draw_cases(result, cohort, host, perturbed))
    return replace(result, pictures=pictures)


def audit_scores(
    scores: pd.DataFrame,
    table: pd.DataFrame,
    groups: Groups,
    *,
    settings: AuditSettings = DEFAULTS,
    caveats: Sequence[str] = (),
) -> Audit:
    """Audit a host by its scores; no segmentor is needed.

    Args:
        scores: What `apple_seg.measure.score` returns, of one run or averaged over several.
        table: A row a case, with `case` and the columns that `groups` names.
        groups: See `audit`.
        settings: See `audit`.
        caveats: See `audit`.

    Raises:
        CaseError: Scores and table do not hold the same cases.
        ConfigError: The scores lack the metric of the verdict.
    """
    codes = group_codes(scores, table, groups)
    return _Auditor(groups, codes, settings, tuple(caveats)).audit(scores)


def compare_scores(
    host: pd.DataFrame,
    perturbed: pd.DataFrame,
    table: pd.DataFrame,
    groups: Groups,
    *,
    settings: AuditSettings = DEFAULTS,
    caveats: Sequence[str] = (),
) -> Comparison:
    """Compare two hosts by their scores; no segmentor is needed.

    A class of a case that only one of them has a score for is left out of both, and counted.

    Args:
        host: Scores of the host as deployed.
        perturbed: Scores of the perturbed host, of the same cases in any order.
        table: See `audit_scores`.
        groups: See `audit`.
        settings: See `audit`.
        caveats: See `audit`.

    Raises:
        CaseError: The tables do not hold the same cases.
        ConfigError: The scores lack the metric of the verdict.
    """
    codes = group_codes(host, table, groups)
    return _Auditor(groups, codes, settings, tuple(caveats)).compare(host, perturbed)


@dataclass(frozen=True)
class _Auditor:
    """What is the same for all tables of one cohort."""

    groups: Groups
    codes: NDArray[np.int64]
    """(N,) of the cases, in the order of the host's scores."""

    settings: AuditSettings
    caveats: tuple[str, ...]

    def audit(self, scores: pd.DataFrame) -> Audit:
        """Audit scores under the declared policy."""
        metrics = self._metrics(scores)
        shown = apply_policy(scores, self.settings.policy)
        policies = {name: apply_policy(scores, name) for name in POLICIES}
        return self._audit(shown, metrics, policies)

    def compare(self, host: pd.DataFrame, perturbed: pd.DataFrame) -> Comparison:
        """Compare scores under the declared policy."""
        metrics = [name for name in self._metrics(host) if name in self._metrics(perturbed)]
        perturbed = align(host, perturbed)
        before, after = self.audit(host), self.audit(perturbed)
        policies = {
            name: pair(apply_policy(host, name), apply_policy(perturbed, name), metrics)
            for name in POLICIES
        }
        pairs = policies[self.settings.policy]
        groups = before.cases["group"]
        tables = per_case(pairs.host, metrics), per_case(pairs.perturbed, metrics)
        changed = _paired_cases(*tables, groups, metrics)
        main = self.settings.metric
        columns = {name: changed[f"change_{name}"] for name in (*metrics, "predicted_size")}
        change = self._figures(columns, changed)
        followed = self._follow(before, after, changed)
        policy_changes = {
            name: self._change(one.host, one.perturbed, changed) for name, one in policies.items()
        }
        by_class = {
            name: self._change(
                _of_class(pairs.host, name), _of_class(pairs.perturbed, name), changed
            )
            for name in before.by_class
        }
        return Comparison(
            host=before,
            perturbed=after,
            changes=change,
            change_by_class=by_class,
            change_policies=policy_changes,
            followed=followed,
            change_verdict=judge_change(change[main], followed, margin=self.settings.margin),
            notes=(*before.notes, *_unpaired(host, perturbed, self.settings)),
            caveats=self.caveats,
            cases=changed,
        )

    def _audit(
        self, scores: pd.DataFrame, metrics: Sequence[str], policies: Mapping[str, pd.DataFrame]
    ) -> Audit:
        main = self.settings.metric
        cases = per_case(scores, metrics)
        names = {**dict(enumerate(self.groups.labels)), UNKNOWN: UNKNOWN_LABEL}
        cases.insert(2, "group", [names[code] for code in self.codes])
        figures = self._figures({name: cases[name] for name in (*metrics, *SIZES)}, cases)
        classes = scores["class"].unique()
        counts = count(scores, cases, self.codes, labels=self.groups.labels, metric=main)
        return Audit(
            settings=self.settings,
            attribute=self.groups.attribute,
            reference=self.groups.reference,
            figures=figures,
            by_class={
                str(name): self._plain(per_case(_of_class(scores, name), [main]), cases)
                for name in (classes if len(classes) > 1 else [])
            },
            policies={
                name: self._plain(per_case(one, [main]), cases) for name, one in policies.items()
            },
            counts=counts,
            difference_verdict=judge_difference(
                figures[main], margin=self.settings.difference_margin
            ),
            notes=notes(counts, scores, self.settings),
            caveats=self.caveats,
            cases=cases,
        )

    def _figures(
        self, columns: Mapping[str, pd.Series], cases: pd.DataFrame
    ) -> dict[str, Disaggregated]:
        """Estimate each column; the bootstrap stands beside the metric of the verdict only."""
        design = self._design(cases)
        quick = design._replace(resamples=0)
        return {
            name: disaggregate(
                column.to_numpy(dtype=float), design if name == self.settings.metric else quick
            )
            for name, column in columns.items()
        }

    def _plain(self, part: pd.DataFrame, cases: pd.DataFrame) -> Disaggregated:
        """Estimate the metric of the verdict in another table of the same cases."""
        values = part.set_index("case")[self.settings.metric].reindex(cases["case"])
        return disaggregate(values.to_numpy(dtype=float), self._design(cases)._replace(resamples=0))

    def _change(
        self, host: pd.DataFrame, perturbed: pd.DataFrame, cases: pd.DataFrame
    ) -> Disaggregated:
        main = self.settings.metric
        before, after = per_case(host, [main]), per_case(perturbed, [main])
        return self._plain(before.assign(**{main: after[main] - before[main]}), cases)

    def _follow(self, before: Audit, after: Audit, changed: pd.DataFrame) -> Followed | None:
        """Name the difference to follow by the host's means, and estimate what became of it."""
        main, reference = self.settings.metric, self.groups.reference
        worse, best = before.main.worst_group, before.main.best_group
        if worse is None or best is None or worse == best:
            return None
        better = best if worse == reference else reference
        design = self._design(changed)
        host, perturbed, change = (
            estimate_difference(
                changed[f"{which}_{main}"].to_numpy(dtype=float), design, better=better, worse=worse
            )
            for which in ("host", "perturbed", "change")
        )
        return Followed(better=better, worse=worse, host=host, perturbed=perturbed, change=change)

    def _design(self, cases: pd.DataFrame) -> Design:
        return Design(
            codes=self.codes,
            clusters=cases["cluster"].astype(str).to_numpy(),
            labels=self.groups.labels,
            reference=self.groups.reference_code,
            confidence=self.settings.confidence,
            resamples=self.settings.resamples,
            seed=self.settings.seed,
        )

    def _metrics(self, scores: pd.DataFrame) -> list[str]:
        if self.settings.metric not in scores:
            raise ConfigError(
                f"the scores have no column {self.settings.metric!r}, which verdicts are taken "
                f"on; their columns are: {', '.join(map(str, scores.columns))}"
            )
        return [name for name in self.settings.reported if name in scores]


@dataclass(frozen=True)
class _Scoring:
    """What is the same for each host that goes through a cohort."""

    cohort: Cohort
    settings: AuditSettings
    progress: bool
    processes: Processes

    def score(self, predict: Predict, description: str) -> pd.DataFrame:
        """Score one of them."""
        return score(
            predict,
            self.cohort,
            metrics=self.settings.reported,
            tolerance=self.settings.tolerance,
            batch_size=self.settings.batch_size,
            progress=self.progress,
            description=description,
            processes=self.processes,
        )


def _of_class(scores: pd.DataFrame, name: str) -> pd.DataFrame:
    return scores[scores["class"] == name]


def _paired_cases(
    host: pd.DataFrame, perturbed: pd.DataFrame, groups: pd.Series, metrics: Sequence[str]
) -> pd.DataFrame:
    table = host[["case", "cluster", "truth_size"]].copy()
    table.insert(2, "group", groups)
    for name in (*metrics, "predicted_size"):
        table[f"host_{name}"], table[f"perturbed_{name}"] = host[name], perturbed[name]
        table[f"change_{name}"] = perturbed[name] - host[name]
    return table


def _unpaired(
    host: pd.DataFrame, perturbed: pd.DataFrame, settings: AuditSettings
) -> tuple[str, ...]:
    """Say how many masks only one of the two has a score for, and what that hides."""
    key, main = ["case", "class"], settings.metric
    scored = [
        apply_policy(one, settings.policy).set_index(key)[main].notna().sort_index()
        for one in (host, perturbed)
    ]
    only_host, only_perturbed = scored[0] & ~scored[1], scored[1] & ~scored[0]
    if not (only_host | only_perturbed).any():
        return ()
    return (
        f"{int(only_host.sum())} masks have a {main} under the host only and "
        f"{int(only_perturbed.sum())} under the perturbed host only (false positives on empty "
        "masks that went, or came). In the paired change an empty mask that was rightly left "
        "empty counts as 1 there, so that the figures of host and perturbed host do not differ by "
        "the change alone.",
    )
