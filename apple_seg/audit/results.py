"""What an audit of one host found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console, RenderableType

from apple_seg.audit.cases import Counts
from apple_seg.audit.conventions import Convention
from apple_seg.audit.inference.adjust import Adjustment
from apple_seg.audit.inference.curves import Curve
from apple_seg.audit.inference.dispersion import Dispersion
from apple_seg.audit.inference.figures import Disaggregated
from apple_seg.audit.inference.intervals import Estimate
from apple_seg.audit.settings import AuditSettings
from apple_seg.audit.verdicts import Judgement
from apple_seg.files import to_json, write_text


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A case with the contours of its masks."""

    case: str
    group: str
    kind: str
    """Why it is shown: `worst`, `most gained` or `most lost`."""

    caption: str
    png: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit:
    """Per-case scores of one host, and what can be said of the groups."""

    settings: AuditSettings
    attribute: str
    reference: str
    """The group that differences are taken from: reference minus group."""

    figures: Mapping[str, Disaggregated]
    """By metric, then `truth_size` and `predicted_size` in voxels."""

    by_class: Mapping[str, Disaggregated]
    """The metric of the verdict, class by class; empty where there is one class only."""

    policies: Mapping[str, Disaggregated]
    """The metric of the verdict under each policy for empty masks."""

    p_values: Mapping[str, float]
    """Of the permutation test of each difference; NaN where it was not made."""

    dispersion: Dispersion
    """How much the groups' true means vary."""

    adjusted: tuple[Adjustment, ...]
    """The difference among cases alike: for mask size, then for size and declared covariates."""

    conventions: Mapping[str, Convention]
    """What other tools would print of these cases; empty where there is no Dice."""

    curves: Mapping[str, Curve]
    """The metric of the verdict against numbers of the manifest."""

    counts: Mapping[str, Counts]
    """By group, and `unknown`."""

    difference_verdict: Judgement
    notes: tuple[str, ...]
    caveats: tuple[str, ...]
    cases: pd.DataFrame = field(repr=False)
    """A row a case: `case`, `cluster`, `group`, sizes, then the metrics (means over classes), then
    covariates and what is drawn against."""

    others: tuple["Audit", ...] = ()
    """Of the same scores by other attributes."""

    pictures: tuple[Picture, ...] = field(default=(), repr=False)

    @property
    def main(self) -> Disaggregated:
        """The figures that the verdict is taken on."""
        return self.figures[self.settings.metric]

    @property
    def overall(self) -> Estimate:
        """The mean of all scored cases; never to be shown without the groups."""
        return self.main.overall

    @property
    def by_group(self) -> Mapping[str, Estimate]:
        """The mean of each group."""
        return self.main.by_group

    @property
    def difference(self) -> Mapping[str, Estimate]:
        """Reference minus group, for every other group."""
        return self.main.difference

    @property
    def group_min(self) -> float:
        """The lowest group mean."""
        return self.main.group_min

    @property
    def group_max(self) -> float:
        """The highest group mean."""
        return self.main.group_max

    @property
    def worst_group(self) -> str | None:
        """The group with the lowest mean."""
        return self.main.worst_group

    def to_frame(self) -> pd.DataFrame:
        """Return the table of cases."""
        return self.cases.copy()

    def to_dict(self) -> dict[str, Any]:
        """Return all but the cases and pictures as plain values; NaN is None."""
        from apple_seg.audit.plain import audit_dict

        return audit_dict(self)

    def to_json(self, path: Path | str | None = None) -> str:
        """Return strict JSON, and write it where a path is given."""
        return written(to_json(self.to_dict()), path)

    def to_csv(self, path: Path | str) -> None:
        """Write the table of cases."""
        write_text(path, self.cases.to_csv(index=False))

    def to_html(self, path: Path | str, **more: Any) -> None:
        """Write a report of one file that needs no network; see `report.audit_html`."""
        from apple_seg.audit.report import audit_html

        write_text(path, audit_html(self, **more))

    def to_markdown(self, path: Path | str | None = None, **more: Any) -> str:
        """Return the same in Markdown, without plots, and write it where a path is given."""
        from apple_seg.audit.report import audit_markdown

        return written(audit_markdown(self, **more), path)

    def render(self, console: Console) -> None:
        """Print what matters."""
        console.print(self)

    def __rich__(self) -> RenderableType:
        from apple_seg.audit.terminal import audit_text

        return audit_text(self)


def written(text: str, path: Path | str | None) -> str:
    """Return a text, after it was written where a path is given."""
    if path is not None:
        write_text(path, text)
    return text
