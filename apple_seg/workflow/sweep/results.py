"""What the fits of a sweep came to on validation: each seed, and their means."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apple_seg.perturb import Candidate
from apple_seg.workflow.sweep.combinations import Combination


@dataclass(frozen=True)
class SeedFit:
    """One fit."""

    seed: int
    host: Candidate
    """The identity, as validation saw it in this fit."""

    selected: Candidate
    """The epoch that the rule kept, as it answers: at once or by vote. 0 is the identity."""

    share: float
    """Trained parameters, as a share of the host's."""

    seconds: float
    """Of training and validation."""

    recording: float
    """Seconds that its records took; 0 where they were there."""

    folder: Path

    voted: bool = False
    """Whether the figures are of answers by the vote of several views."""

    @classmethod
    def read(cls, seed: int, folder: Path, said: Mapping[str, Any]) -> "SeedFit":
        """Read what `FitResult.to_dict` wrote."""
        return cls(
            seed=seed,
            host=_candidate(said["candidates"][0]),
            selected=_candidate(said["answer"]),
            share=said["trained_parameters"] / said["host_parameters"],
            seconds=said["seconds"],
            recording=(said["replay"] or {}).get("record_seconds", 0.0),
            folder=folder,
            voted=bool(said["vote"] and said["vote"]["kept"]),
        )

    @property
    def kept(self) -> str:
        """What the rule kept, in words; the identity by vote is no identity."""
        epoch = self.selected.epoch
        if not epoch:
            return "untouched host, by vote" if self.voted else "identity"
        return f"epoch {epoch}" + (", by vote" if self.voted else "")

    @property
    def identity(self) -> bool:
        """Whether nothing is changed."""
        return self.selected.epoch == 0 and not self.voted

    def to_dict(self, relative_to: Path) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return {
            "seed": self.seed,
            "identity": figures(self.host),
            "selected": {"epoch": self.selected.epoch, **figures(self.selected)},
            "voted": self.voted,
            "trained_share": self.share,
            "seconds": self.seconds,
            "recording_seconds": self.recording,
            "folder": self.folder.relative_to(relative_to).as_posix(),
        }


@dataclass(frozen=True, eq=False)
class Tried:
    """A combination and its fits."""

    combination: Combination
    fits: tuple[SeedFit, ...]
    """In the order of the seeds."""

    failed: Mapping[int, str]
    """Seed to why there is no fit; such a combination cannot be chosen."""

    @property
    def label(self) -> str:
        """What it is called in words."""
        return self.combination.label

    @property
    def identities(self) -> int:
        """How many seeds kept the identity."""
        return sum(fit.identity for fit in self.fits)

    @property
    def changes(self) -> bool:
        """Whether all seeds have ended, and one changes anything: else this is no candidate."""
        return not self.failed and self.identities < len(self.fits)

    def mean(self, place: int) -> Candidate:
        """Return the mean over seeds, as the candidate of this place among others."""
        return mean_of([fit.selected for fit in self.fits], place)

    @property
    def seconds(self) -> float:
        """Mean over seeds."""
        return statistics.mean(fit.seconds for fit in self.fits)

    def to_dict(self, relative_to: Path) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        method = self.combination.experiment.method
        return {
            "label": self.label,
            "settings": self.combination.settings,
            "method": str(method),
            "identity_kept": self.identities,
            "mean": figures(self.mean(0)) if self.fits else None,
            "seeds": [fit.to_dict(relative_to) for fit in self.fits],
            "failed": dict(self.failed),
        }


def mean_of(candidates: Sequence[Candidate], place: int) -> Candidate:
    """Return means of all figures.

    They are exact before they are rounded: the mean of equal numbers is that number, so that
    what is the same in all seeds ties.
    """
    groups = candidates[0].by_group
    return Candidate(
        place,
        _mean([one.overall for one in candidates]),
        {label: _mean([one.by_group[label] for one in candidates]) for label in groups},
        _mean([one.tail for one in candidates]),
    )


def smallest_gain(host: Candidate, candidate: Candidate) -> float:
    """Return by how much mean Dice rose where it rose least, in a group or overall."""
    gains = [candidate.by_group[label] - before for label, before in host.by_group.items()]
    return min([candidate.overall - host.overall, *gains])


def figures(candidate: Candidate) -> dict[str, Any]:
    """Return validation's figures as plain values."""
    return {
        "overall": candidate.overall,
        "by_group": dict(candidate.by_group),
        "worst": candidate.group_min,
        "difference": candidate.difference,
    }


def _mean(values: Sequence[float]) -> float:
    """Return the exact mean, rounded once; NaN where a value is none."""
    return statistics.mean(values) if all(map(math.isfinite, values)) else math.nan


def _candidate(said: Mapping[str, Any]) -> Candidate:
    tail = said.get("tail")
    return Candidate(
        said["epoch"], said["overall"], said["by_group"], math.nan if tail is None else tail
    )
