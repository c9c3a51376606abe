"""Scores to one audit: everything that is said of one cohort by one attribute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apple_seg.audit.cases import SIZES, UNKNOWN_LABEL, count, group_codes, per_case
from apple_seg.audit.conventions import conventions
from apple_seg.audit.inference.adjust import Adjustment, adjust
from apple_seg.audit.inference.covariates import numbers
from apple_seg.audit.inference.curves import Curve, curve
from apple_seg.audit.inference.dispersion import dispersion
from apple_seg.audit.inference.figures import (
    Design,
    Disaggregated,
    across_runs,
    disaggregate,
    estimate_difference,
)
from apple_seg.audit.inference.intervals import Estimate, Floats, sum_clusters, with_runs
from apple_seg.audit.inference.permutation import permutation_p
from apple_seg.audit.limits import notes
from apple_seg.audit.pairs import (
    Paired,
    mean_cases,
    mean_scores,
    pair,
    paired_cases,
    unpaired,
)
from apple_seg.audit.results import Audit, Comparison
from apple_seg.audit.settings import AuditSettings
from apple_seg.audit.verdicts import Followed, judge_change, judge_difference
from apple_seg.data import UNKNOWN, Groups
from apple_seg.errors import CaseError, ConfigError
from apple_seg.measure import METRICS, POLICIES, apply_policy

MASK_SIZE = "mask size"
"""The covariate that is always adjusted for: the true mask's voxels."""


@dataclass(frozen=True)
class Auditor:
    """What is the same for all tables of one cohort and attribute."""

    groups: Groups
    codes: NDArray[np.int64]
    """(N,) of the cases, in the order of the host's scores."""

    table: pd.DataFrame
    """The cohort's columns, in the same order."""

    settings: AuditSettings
    caveats: tuple[str, ...]
    attributes: int
    """How many are audited together."""

    @classmethod
    def of(
        cls,
        groups: Groups,
        scores: pd.DataFrame,
        table: pd.DataFrame,
        settings: AuditSettings,
        caveats: Sequence[str],
        attributes: int,
    ) -> "Auditor":
        """Put the cohort's table into the order of the scores.

        Raises:
            CaseError: They do not hold the same cases, or none.
            ConfigError: A covariate or a curve names no column.
        """
        if scores.empty:
            raise CaseError("there is no case to audit: the scores are empty")
        codes = group_codes(scores, table, groups)
        ordered = table.set_index("case").loc[scores["case"].drop_duplicates()].reset_index()
        named = (*settings.covariates, *(settings.curves or ()))
        if foreign := [name for name in named if name not in ordered]:
            raise ConfigError(
                f"no column {foreign[0]!r} to adjust for or to draw against; the columns are: "
                + ", ".join(map(str, ordered.columns))
            )
        return cls(groups, codes, ordered, settings, tuple(caveats), attributes)

    def audit(self, scores: pd.DataFrame) -> Audit:
        """Audit scores under the declared policy."""
        main, metrics = self.settings.metric, self._metrics(scores)
        shown = apply_policy(scores, self.settings.policy)
        cases = per_case(shown, metrics)
        names = {**dict(enumerate(self.groups.labels)), UNKNOWN: UNKNOWN_LABEL}
        cases.insert(2, "group", [names[code] for code in self.codes])
        cases = self._with_columns(cases)
        figures = self._figures({name: cases[name] for name in (*metrics, *SIZES)}, cases)
        classes = shown["class"].unique()
        counts = count(shown, cases, self.codes, labels=self.groups.labels, metric=main)
        values, design = cases[main].to_numpy(dtype=float), self._design(cases)
        sums = sum_clusters(
            values, groups=self.codes, clusters=design.clusters, n_groups=len(design.labels)
        )
        return Audit(
            settings=self.settings,
            attribute=self.groups.attribute,
            reference=self.groups.reference,
            figures=figures,
            by_class={
                str(name): self._plain(per_case(_of_class(shown, name), [main]), cases)
                for name in (classes if len(classes) > 1 else [])
            },
            policies={
                name: self._plain(per_case(apply_policy(scores, name), [main]), cases)
                for name in POLICIES
            },
            p_values={
                label: permutation_p(
                    sums,
                    first=design.reference,
                    second=design.labels.index(label),
                    permutations=self.settings.permutations,
                    seed=self.settings.seed,
                )
                for label in figures[main].difference
            },
            dispersion=dispersion(sums),
            adjusted=self._adjusted(values, cases, design),
            conventions=conventions(
                scores, self.codes, labels=self.groups.labels, policy=self.settings.policy
            )
            if "dice" in scores
            else {},
            curves=self._curves(values, cases, design),
            counts=counts,
            difference_verdict=judge_difference(
                figures[main],
                margin=self.settings.difference_margin,
                attributes=self.attributes,
            ),
            notes=notes(counts, shown, self.settings),
            caveats=self.caveats,
            cases=cases,
        )

    def compare(self, host: pd.DataFrame, runs: Sequence[pd.DataFrame]) -> Comparison:
        """Compare aligned scores under the declared policy, averaged over training runs."""
        metrics = [name for name in self._metrics(host) if name in self._metrics(runs[0])]
        before, after = self.audit(host), self.audit(mean_scores(runs))
        pairs = {policy: self._pairs(host, runs, policy, metrics) for policy in POLICIES}
        shown = pairs[self.settings.policy]
        each = [paired_cases(one, before.cases["group"], metrics) for one in shown]
        changed = self._with_columns(mean_cases(each))
        main = self.settings.metric
        changes = {
            name: self._change_of(f"change_{name}", changed, each)
            for name in (*metrics, "predicted_size")
        }
        followed = self._follow(before, after, changed, each)
        design = self._design(changed)
        return Comparison(
            host=before,
            perturbed=after,
            runs=len(runs),
            changes=changes,
            change_by_class={
                name: self._change(
                    [Paired(*(_of_class(half, name) for half in one)) for one in shown], changed
                )
                for name in before.by_class
            },
            change_policies={name: self._change(some, changed) for name, some in pairs.items()},
            change_curves=self._curves(
                changed[f"change_{main}"].to_numpy(dtype=float), changed, design
            ),
            followed=followed,
            change_verdict=judge_change(
                changes[main],
                followed,
                margin=self.settings.margin,
                attributes=self.attributes,
            ),
            notes=(*before.notes, *unpaired(host, runs, self.settings), *_runs_note(len(runs))),
            caveats=self.caveats,
            cases=changed,
        )

    def _pairs(
        self, host: pd.DataFrame, runs: Sequence[pd.DataFrame], policy: str, metrics: Sequence[str]
    ) -> list[Paired]:
        left = apply_policy(host, policy)
        return [pair(left, apply_policy(run, policy), metrics) for run in runs]

    def _figures(
        self, columns: Mapping[str, "pd.Series[Any]"], cases: pd.DataFrame
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

    def _change_of(
        self, column: str, changed: pd.DataFrame, each: Sequence[pd.DataFrame]
    ) -> Disaggregated:
        """Estimate a column of the paired table, allowing for the training runs."""
        design = self._design(changed)
        quick = design._replace(resamples=0)
        main = column == f"change_{self.settings.metric}"
        mean = disaggregate(changed[column].to_numpy(dtype=float), design if main else quick)
        return across_runs(
            mean, [disaggregate(one[column].to_numpy(dtype=float), quick) for one in each]
        )

    def _change(self, pairs: Sequence[Paired], cases: pd.DataFrame) -> Disaggregated:
        """Estimate the change of the verdict's metric in other pairs of the same cases."""
        main = self.settings.metric
        column = f"change_{main}"
        each = []
        for one in pairs:
            table = paired_cases(one, pd.Series(dtype=object), [main]).set_index("case")
            each.append(table[[column]].reindex(cases["case"]).reset_index())
        mean = mean_cases(each).assign(cluster=cases["cluster"].to_numpy())
        design = self._design(mean)._replace(resamples=0)
        found = disaggregate(mean[column].to_numpy(dtype=float), design)
        return across_runs(
            found, [disaggregate(one[column].to_numpy(dtype=float), design) for one in each]
        )

    def _follow(
        self,
        before: Audit,
        after: Audit,
        changed: pd.DataFrame,
        each: Sequence[pd.DataFrame],
    ) -> Followed | None:
        """Name the difference to follow by the host's means, and estimate what became of it."""
        main, reference = self.settings.metric, self.groups.reference
        scored = [label for label, found in before.by_group.items() if found.n_cases]
        worse, best = before.main.worst_group, before.main.best_group
        if worse is None or best is None or len(scored) < 2:
            return None
        if worse == best:  # all alike: none is the worst, and any will do
            worse = next(label for label in scored if label != reference)
        better = best if worse == reference else reference
        design = self._design(changed)

        def found(table: pd.DataFrame, which: str, design: Design) -> Estimate:
            values = table[f"{which}_{main}"].to_numpy(dtype=float)
            return estimate_difference(values, design, better=better, worse=worse)

        host, perturbed, change = (
            found(changed, which, design) for which in ("host", "perturbed", "change")
        )
        if len(each) > 1:
            quick = design._replace(resamples=0)
            perturbed, change = (
                with_runs(one, [found(run, which, quick).value for run in each])
                for one, which in ((perturbed, "perturbed"), (change, "change"))
            )
        return Followed(better=better, worse=worse, host=host, perturbed=perturbed, change=change)

    def _adjusted(
        self, values: Floats, cases: pd.DataFrame, design: Design
    ) -> tuple[Adjustment, ...]:
        """Adjust for the mask's size, and for it and the declared covariates."""
        size = cases["truth_size"]
        known = {MASK_SIZE: np.log1p(size)} if size.notna().any() else {}
        sets = [known] if known else []
        if self.settings.covariates:
            sets.append(known | {name: self.table[name] for name in self.settings.covariates})
        return tuple(one for some in sets for one in adjust(values, design, some))

    def _curves(self, values: Floats, cases: pd.DataFrame, design: Design) -> dict[str, Curve]:
        found = {}
        for name in self._curved:
            if (known := numbers(self.table[name])) is None:
                raise ConfigError(f"{name} is to be drawn against, but holds words and no numbers")
            if (drawn := curve(values, name, known, design)) is not None:
                found[name] = drawn
        return found

    @property
    def _curved(self) -> tuple[str, ...]:
        """The columns to draw against."""
        if self.settings.curves is not None:
            return self.settings.curves
        cut = self.groups.by.items()
        return tuple(name for name, declared in cut if not isinstance(declared[0], str))

    def _with_columns(self, cases: pd.DataFrame) -> pd.DataFrame:
        """Put the columns that are adjusted for or drawn against beside the scores."""
        names = dict.fromkeys((*self._curved, *self.settings.covariates))
        return cases.assign(
            **{name: self.table[name].to_numpy() for name in names if name not in cases}
        )

    def _design(self, cases: pd.DataFrame) -> Design:
        return Design(
            codes=self.codes,
            clusters=pd.factorize(cases["cluster"])[0],  # numbers sort ten times as fast
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
        metrics = [name for name in self.settings.reported if name in scores]
        for name in metrics:
            wrong = (scores[name] < 0) | (scores[name] > 1)
            if METRICS[name].overlap and wrong.any():
                row = scores[wrong].iloc[0]
                raise CaseError(
                    f"{row['case']}: {name} is {row[name]:g}, as {int(wrong.sum())} scores are not "
                    "between 0 and 1; of percentages give hundredths"
                )
        return metrics


def _of_class(scores: pd.DataFrame, name: str) -> pd.DataFrame:
    return scores[scores["class"] == name]


def _runs_note(runs: int) -> tuple[str, ...]:
    if runs < 2:
        return ()
    return (
        f"The perturbed host is the mean of {runs} training runs of other seeds: scores are each "
        "case's mean over them, intervals of the change allow for what another training would "
        "change, and a mask counts as empty where it is so in all of them.",
    )
