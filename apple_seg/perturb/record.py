"""What a fit is told, and what it says it did."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from apple_seg.errors import ConfigError
from apple_seg.perturb.methods import MethodSpec
from apple_seg.perturb.selection import RULES, Candidate


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """The `[fit]` table: how to train, and nothing of what to train."""

    __pydantic_config__ = {"extra": "forbid"}  # where the experiment file is read

    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 1e-3
    """Of the perturbers at the start; it falls to zero along a cosine."""

    selection: str = "worst-group"
    """Which epoch is kept, by validation; see `perturb/selection.py`."""

    margin: float = 0.01
    """How much mean Dice no group may lose on validation."""

    seed: int = 0
    """Of the perturbers' and the discriminator's start and of the order of cases."""

    def __post_init__(self) -> None:
        sound = 0 < self.learning_rate < float("inf") and 0 <= self.margin < 1
        if self.epochs < 1 or self.batch_size < 2 or not sound:
            raise ConfigError(
                "a fit needs 1 epoch and a batch of 2 at least, a positive learning rate, and a "
                f"margin from 0 to below 1; got epochs={self.epochs}, "
                f"batch_size={self.batch_size}, learning_rate={self.learning_rate}, "
                f"margin={self.margin}"
            )
        if self.selection not in RULES:
            raise ConfigError(f"no rule {self.selection!r}; known are: {', '.join(RULES)}")


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a fit did."""

    method: MethodSpec
    settings: FitSettings
    sites: tuple[str, ...]
    n_fit: int
    n_validation: int
    trained_parameters: int
    host_parameters: int
    selected: Candidate
    candidates: tuple[Candidate, ...]
    """The identity, then a candidate an epoch, as validation saw them."""

    losses: tuple[Mapping[str, float], ...]
    """Mean of every loss term, an epoch each."""

    seconds: float
    """Wall clock of training and validation."""

    groups: Mapping[str, int] = field(default_factory=dict)
    """Cases fitted on, by group; `unknown` are in no group."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        plain = asdict(self)
        plain["method"]["sites"] = list(self.sites)
        return plain
