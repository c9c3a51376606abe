"""What is the same for all tables of one cohort and one attribute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apple_seg.audit.cases import UNKNOWN_LABEL, group_codes
from apple_seg.audit.inference.adjust import Adjustment, adjust
from apple_seg.audit.inference.arrays import Floats
from apple_seg.audit.inference.covariates import numbers
from apple_seg.audit.inference.curves import Curve, curve
from apple_seg.audit.inference.figures import Design, Disaggregated, across_runs, disaggregate
from apple_seg.audit.settings import AuditSettings
from apple_seg.data import UNKNOWN, Groups
from apple_seg.errors import CaseError, ConfigError
from apple_seg.measure import METRICS
from apple_seg.names import meant

MASK_SIZE = "mask size"
"""The covariate that is always adjusted for: the true mask's voxels."""


@dataclass(frozen=True)
class Context:
    """A cohort's groups and columns, in the order of the host's scores, and what is to be done."""

    groups: Groups
    codes: NDArray[np.int64]
    """(N,) group of each case; negative where it is in none."""

    table: pd.DataFrame
    """The cohort's columns, a row a case."""

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
    ) -> "Context":
        """Put the cohort's table into the order of the scores.

        Raises:
            CaseError: They do not hold the same cases, or none, or one twice.
            ConfigError: A covariate or a curve names no column.
        """
        if scores.empty:
            raise CaseError("there is no case to audit: the scores are empty")
        if (twice := scores.duplicated(["case", "class"])).any():
            raise CaseError(f"{scores.loc[twice, 'case'].iloc[0]}: scored twice")
        codes = group_codes(scores, table, groups)
        ordered = table.set_index("case").loc[scores["case"].drop_duplicates()].reset_index()
        named = (*settings.covariates, *(settings.curves or ()))
        if foreign := [name for name in named if name not in ordered]:
            raise ConfigError(
                f"no column {foreign[0]!r} to adjust for or to draw against"
                f"{meant(foreign[0], ordered.columns)}; the columns are: "
                + ", ".join(map(str, ordered.columns))
            )
        return cls(groups, codes, ordered, settings, tuple(caveats), attributes)

    @property
    def labels(self) -> list[str]:
        """(N,) the group of each case, by name."""
        names = {**dict(enumerate(self.groups.labels)), UNKNOWN: UNKNOWN_LABEL}
        return [names[code] for code in self.codes]

    def design(self, cases: pd.DataFrame, *, bootstrap: bool = False) -> Design:
        """Say what the cases are, whatever is measured of them."""
        return Design(
            codes=self.codes,
            clusters=pd.factorize(cases["cluster"])[0],  # numbers sort ten times as fast
            labels=self.groups.labels,
            reference=self.groups.reference_code,
            confidence=self.settings.confidence,
            resamples=self.settings.resamples if bootstrap else 0,
            seed=self.settings.seed,
        )

    def estimate(
        self, column: str, mean: pd.DataFrame, runs: Sequence[pd.DataFrame]
    ) -> Disaggregated:
        """Estimate a column of a table of cases, allowing for the training runs that it is of.

        The bootstrap stands beside the metric of the verdict, and beside its change, only.
        """
        main = self.settings.metric
        design = self.design(mean, bootstrap=column in (main, f"change_{main}"))
        found = disaggregate(mean[column].to_numpy(dtype=float), design)
        quick = design._replace(resamples=0)
        each = [disaggregate(one[column].to_numpy(dtype=float), quick) for one in runs]
        return across_runs(found, each)

    def metrics(self, tables: Sequence[pd.DataFrame]) -> list[str]:
        """Return the metrics that all tables have.

        Raises:
            ConfigError: One lacks the metric of the verdict.
            CaseError: An overlap is not between 0 and 1.
        """
        main = self.settings.metric
        for scores in tables:
            if main not in scores:
                raise ConfigError(
                    f"the scores have no column {main!r}, which verdicts are taken on; their "
                    f"columns are: {', '.join(map(str, scores.columns))}"
                )
        metrics = [
            name for name in self.settings.reported if all(name in scores for scores in tables)
        ]
        for scores in tables:
            for name in metrics:
                _check_range(scores, name)
        return metrics

    def with_columns(self, cases: pd.DataFrame) -> pd.DataFrame:
        """Put the columns that are adjusted for or drawn against beside the scores."""
        names = dict.fromkeys((*self._curved, *self.settings.covariates))
        return cases.assign(
            **{name: self.table[name].to_numpy() for name in names if name not in cases}
        )

    def adjusted(self, values: Floats, cases: pd.DataFrame) -> tuple[Adjustment, ...]:
        """Adjust for the mask's size, and for it and the declared covariates."""
        size, design = cases["truth_size"], self.design(cases)
        known = {MASK_SIZE: np.log1p(size)} if size.notna().any() else {}
        sets = [known] if known else []
        if self.settings.covariates:
            sets.append(known | {name: self._column(name) for name in self.settings.covariates})
        return tuple(one for some in sets for one in adjust(values, design, some))

    def curves(self, values: Floats, cases: pd.DataFrame) -> Mapping[str, Curve]:
        """Draw values against the columns that are to be drawn against.

        Raises:
            ConfigError: A column that was named holds words.
        """
        found = {}
        for name in self._curved:
            if (known := numbers(self._column(name))) is None:
                raise ConfigError(f"{name} is to be drawn against, but holds words and no numbers")
            if (drawn := curve(values, name, known, self.design(cases))) is not None:
                found[name] = drawn
        return found

    @property
    def _curved(self) -> tuple[str, ...]:
        """The columns to draw against: those declared, or those of numbers that groups cut."""
        if self.settings.curves is not None:
            return self.settings.curves
        cut = self.groups.by.items()
        return tuple(name for name, declared in cut if not isinstance(declared[0], str))

    def _column(self, name: str) -> "pd.Series[Any]":
        """Return a column of the table; empty where it says that nothing is known."""
        column = self.table[name].astype("string").fillna("").str.strip()
        return column.where(~column.str.lower().isin(self.groups.unknown_words), "")


def of_class(scores: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the rows of one class."""
    return scores[scores["class"] == name]


def _check_range(scores: pd.DataFrame, name: str) -> None:
    wrong = (scores[name] < 0) | (scores[name] > 1)
    if METRICS[name].overlap and wrong.any():
        row = scores[wrong].iloc[0]
        raise CaseError(
            f"{row['case']}: {name} is {row[name]:g}, as {int(wrong.sum())} scores are not "
            "between 0 and 1; of percentages give hundredths"
        )
