"""How far a fit has come: what it takes to go on after a kill as if nothing had happened."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from apple_seg.errors import FitError
from apple_seg.files import plain, replacing, to_json_line, write_text
from apple_seg.perturb.selection import Candidate, Rule

CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"

Weights = list[dict[str, Tensor]]
"""A state a perturber."""


@dataclass
class Progress:
    """What a fit knows after an epoch."""

    candidates: list[Candidate] = field(default_factory=list)
    """The identity, then one an epoch."""

    losses: list[dict[str, float]] = field(default_factory=list)
    """Mean of each term, one an epoch."""

    kept: int = 0
    """The epoch that the selection rule would keep now."""

    best: Weights = field(default_factory=list)
    """The perturbers after that epoch."""

    seconds: float = 0.0
    """Wall clock so far."""

    answer: list[float] = field(default_factory=list)
    """What the host made of one case when the fit began."""

    log: list[dict[str, Any]] = field(default_factory=list)
    """A line an event."""

    @property
    def epoch(self) -> int:
        """The last epoch that is done; 0 after the identity."""
        return len(self.candidates) - 1

    @property
    def idle(self) -> int:
        """How many epochs in a row the rule would keep none of."""
        return self.epoch - self.kept

    def judge(self, candidate: Candidate, rule: Rule, modules: Sequence[nn.Module]) -> None:
        """Add what validation says of the last epoch, and keep its weights if the rule does."""
        self.candidates.append(candidate)
        if rule(self.candidates).epoch == candidate.epoch:
            self.kept = candidate.epoch
            self.best = [copy.deepcopy(one.state_dict()) for one in modules]

    def write_log(self, folder: Path | None) -> None:
        """Write all events, a JSON object a line."""
        if folder is not None:
            write_text(folder / LOG, "".join(map(to_json_line, self.log)))

    def save(self, folder: Path, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Write a checkpoint, whole or not at all.

        Args:
            folder: Where to.
            identity: What the fit is of and how: another fit does not go on from here.
            state: Of the perturbers, optimisers, schedule.
        """
        content = {
            "identity": plain(identity),
            "candidates": [asdict(one) for one in self.candidates],
            "losses": self.losses,
            "kept": self.kept,
            "best": self.best,
            "seconds": self.seconds,
            "answer": self.answer,
            "log": self.log,
            "state": dict(state),
        }
        try:
            with replacing(folder / CHECKPOINT) as temporary:
                torch.save(content, temporary)
        except (OSError, RuntimeError) as error:
            raise FitError(
                f"cannot write {folder / CHECKPOINT}: {error}. The last one is still there, and "
                "the fit goes on from it when it is started again"
            ) from error

    @classmethod
    def load(
        cls, folder: Path, identity: Mapping[str, Any], answer: Sequence[float]
    ) -> "Resumed | str":
        """Return the fit in `folder`, or why there is none to go on with ("" where none is).

        A checkpoint of another fit is renamed; the last one is kept so.
        """
        path = folder / CHECKPOINT
        if not path.is_file():
            return ""
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            said = content.pop("identity")
        except Exception as error:  # whatever a damaged file makes torch raise
            return _aside(path, f"cannot be read ({type(error).__name__})")
        here = plain(identity)
        if differing := sorted(key for key in said | here if said.get(key) != here.get(key)):
            return _aside(path, f"is of another fit (other {', '.join(differing)})")
        if not np.allclose(content["answer"], answer, rtol=0.01, atol=0.01 * abs(answer[1])):
            return _aside(path, "is of a host of these weights that answers otherwise")
        state = content.pop("state")
        content["candidates"] = [Candidate(**one) for one in content["candidates"]]
        return Resumed(cls(**content), state)


def discard_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a fit whose perturbers have been saved."""
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _aside(path: Path, why: str) -> str:
    kept = path.with_suffix(".old.pt")
    path.replace(kept)
    return f"{path} {why}; starting anew (it is now {kept.name})"


@dataclass(frozen=True)
class Resumed:
    """A fit to go on with."""

    progress: Progress
    state: dict[str, Any]
