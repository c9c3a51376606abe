"""What a fit is of, and what makes it the same fit when it is started again."""

from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from apple_seg.data import UNKNOWN, Cohort
from apple_seg.host import Pipeline, fingerprint
from apple_seg.perturb.attributes import Attributes
from apple_seg.perturb.methods import MethodSpec
from apple_seg.perturb.recipe import Problem
from apple_seg.perturb.record import FitSettings
from apple_seg.perturb.sampling import Sampler
from apple_seg.perturb.selection import RULES, Rule
from apple_seg.replay import ReplayNote, ReplaySettings


@dataclass(frozen=True, eq=False)
class FitTask:
    """What `fit` was given."""

    pipeline: Pipeline
    train: Cohort
    validation: Cohort
    attributes: Attributes
    method: MethodSpec
    settings: FitSettings
    replay: ReplaySettings
    folder: Path | None
    progress: bool
    drawing: float = 0.0
    """Seconds that it took to draw the masks that stand in for true ones."""

    def identity(self, note: ReplayNote) -> dict[str, Any]:
        """Return what makes another fit another one, as plain values."""
        return {
            "host": fingerprint(self.pipeline.segmentor.host),
            "sites": [str(site) for site in self.pipeline.segmentor.sites],
            "preprocessing": self.pipeline.spec.identity(),
            "train cases": [self.train.digest(), self.train.stamp()],
            "validation cases": [self.validation.digest(), self.validation.stamp()],
            **self.attributes.identity(),
            "method": asdict(self.method),
            "parts": asdict(self.method.parts),
            "settings": asdict(self.settings),
            "replay": note.used,
            "precision": self.replay.precision,
            "versions": [version("apple-seg"), torch.__version__],
        }

    @property
    def rule(self) -> Rule:
        """Which epoch is kept."""
        rule = RULES[self.settings.selection or self.method.selection]
        return lambda candidates: rule(candidates, self.settings.margin)

    @property
    def problem(self) -> Problem:
        """What the method is built for."""
        counts = self.attributes.counts(self.train.table)
        return Problem(
            self.pipeline.segmentor.shapes, counts, self.pipeline.spec, self.pipeline.classes
        )

    def unmasked(self, cohort: Cohort) -> int:
        """Return for how many cases the mean of the host's views stands for a true mask."""
        agreed = self.method.parts.target == "consensus"
        return int((cohort.table["mask"] == "").sum()) if agreed else 0

    @property
    def judged_by(self) -> Literal["masks", "host", "consensus"]:
        """What the Dice of validation is against; see `FitResult`."""
        if self.method.parts.target == "host":
            return "host"
        return "consensus" if self.unmasked(self.validation) else "masks"

    @cached_property
    def sampler(self) -> Sampler:
        """The order of cases; batches are balanced by the first attribute, where there is one."""
        first, table, settings = self.attributes.first, self.train.table, self.settings
        return Sampler(
            codes=np.full(len(table), UNKNOWN) if first is None else first.codes(table),
            batch_size=settings.batch_size,
            seed=settings.seed,
            views=len(settings.views),
            prompts=settings.prompts,
            balanced=settings.balanced,
            draws=settings.draws,
            masked=(table["mask"] != "").to_numpy(bool) if self.unmasked(self.train) else None,
            labelled=settings.labelled,
        )

    @cached_property
    def answer(self) -> list[float]:
        """What the host makes of one case, in numbers: its weights do not tell its code."""
        inputs = self.pipeline.inputs([self.train[0]])
        with self.pipeline.segmentor.disabled():
            logits = self.pipeline.segmentor.predict(inputs.images, **inputs.prompts).double()
        return [float(logits.mean()), float(logits.std()), float(logits.amax())]
