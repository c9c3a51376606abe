"""What replay is asked for, and what came of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from apple_seg.data import Cohort
from apple_seg.host import Pipeline
from apple_seg.processes import ONE, Processes
from apple_seg.replay.check import Deviation
from apple_seg.replay.playback import Replay
from apple_seg.replay.recording import Plan
from apple_seg.replay.store import Store


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """The `[replay]` table: whether and how the frozen encoder's work is kept."""

    __pydantic_config__ = {"extra": "forbid"}  # where the experiment file is read

    store: Literal["auto", "disk", "memory", "off"] = "auto"
    """Where the records lie. "auto": on disk where there is a folder for results, else in memory;
    and off, with the reason, where replay does not pay or is not right. With "disk" and "memory"
    it is an error where it is not right."""

    precision: Literal["host", "half"] = "host"
    """Store latents as the host computes them, or in 16 bits: half the space, and a deviation
    that is measured and said."""

    folder: Path | None = None
    """Where the records lie, a fast disk say; `replay` among the results of the fit by default."""


@dataclass(frozen=True)
class ReplayNote:
    """What came of it."""

    used: bool
    why: str
    """In words: why not, or what was recorded and how far it is from full passes."""

    store_bytes: int = 0
    seconds: float = 0.0
    """Wall clock of tracing, recording and checking."""

    record_seconds: float = 0.0
    """Of these, what recording took; 0 where all records were there."""

    deviation: Deviation | None = None


@dataclass(frozen=True, eq=False)
class Opened:
    """A replay that has been proved, with the stores of its cohorts by role."""

    replay: Replay
    plans: Mapping[str, Plan]
    stores: Mapping[str, Store]
    note: ReplayNote


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be recorded."""

    pipeline: Pipeline
    train: Cohort
    validation: Cohort
    perturbers: Sequence[nn.Module]
    """A site each, as they will be trained; the check takes randomised copies."""

    epochs: int
    settings: ReplaySettings = ReplaySettings()
    views: tuple[str, ...] = ("as-is",)
    draws: int = 1
    folder: Path | None = None
    processes: Processes = ONE
    progress: bool = True
    say: Callable[[str], None] = print
