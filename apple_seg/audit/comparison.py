"""What a comparison found: a host and a perturbed host on the same cases."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console, RenderableType

from apple_seg.audit.inference.curves import Curve
from apple_seg.audit.inference.figures import Disaggregated
from apple_seg.audit.inference.intervals import Estimate
from apple_seg.audit.results import Audit, Picture, written
from apple_seg.audit.settings import AuditSettings
from apple_seg.audit.verdicts import Followed, Judgement
from apple_seg.files import to_json, write_text


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """A host and a perturbed host on the same cases."""

    host: Audit
    perturbed: Audit
    runs: int
    """Training runs (seeds) that the perturbed host's scores are averaged over."""

    changes: Mapping[str, Disaggregated]
    """By metric, perturbed minus host, paired; then `predicted_size`."""

    change_by_class: Mapping[str, Disaggregated]
    change_policies: Mapping[str, Disaggregated]
    """The change of the verdict's metric under each policy for empty masks."""

    change_curves: Mapping[str, Curve]
    """The change of the verdict's metric against numbers of the manifest."""

    followed: Followed | None
    """The difference that the change is judged by; None where there are no two groups."""

    change_verdict: Judgement
    notes: tuple[str, ...]
    caveats: tuple[str, ...]
    cases: pd.DataFrame = field(repr=False)
    """A row a case: `case`, `cluster`, `group`, `truth_size`, then `host_`, `perturbed_` and
    `change_` of each metric."""

    others: tuple["Comparison", ...] = ()
    """Of the same scores by other attributes."""

    pictures: tuple[Picture, ...] = field(default=(), repr=False)

    @property
    def settings(self) -> AuditSettings:
        """What was declared."""
        return self.host.settings

    @property
    def attribute(self) -> str:
        """What the cases are grouped by."""
        return self.host.attribute

    @property
    def difference_verdict(self) -> Judgement:
        """Whether the groups differ under the host as deployed."""
        return self.host.difference_verdict

    @property
    def change(self) -> Disaggregated:
        """The paired change that the verdict is taken on."""
        return self.changes[self.settings.metric]

    @property
    def overall(self) -> Estimate:
        """The mean change of all scored cases; never to be shown without the groups."""
        return self.change.overall

    @property
    def by_group(self) -> Mapping[str, Estimate]:
        """The mean change of each group."""
        return self.change.by_group

    @property
    def difference(self) -> Mapping[str, Estimate]:
        """The change of the reference minus that of each other group."""
        return self.change.difference

    @property
    def group_min(self) -> float:
        """The least mean change of a group."""
        return self.change.group_min

    @property
    def group_max(self) -> float:
        """The largest mean change of a group."""
        return self.change.group_max

    @property
    def non_inferior(self) -> Mapping[str, bool | None]:
        """Whether a group cannot have lost as much as the margin; None where that is not known.

        False where it has lost more than the margin, its interval clear of it.
        """
        margin = self.settings.margin
        return {
            label: True if found.low > -margin else False if found.high < -margin else None
            for label, found in self.by_group.items()
        }

    @property
    def worst_group(self) -> str | None:
        """The group with the lowest mean under the host."""
        return self.host.worst_group

    def to_frame(self) -> pd.DataFrame:
        """Return the table of cases."""
        return self.cases.copy()

    def to_dict(self) -> dict[str, Any]:
        """Return all but the cases and pictures as plain values; NaN is None."""
        from apple_seg.audit.plain import comparison_dict

        return comparison_dict(self)

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
        from apple_seg.audit.terminal import comparison_text

        return comparison_text(self)
