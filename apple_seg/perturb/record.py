"""What a fit is told, and what it says it did."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from apple_seg.errors import ConfigError
from apple_seg.names import meant
from apple_seg.perturb.methods import MethodSpec
from apple_seg.perturb.selection import RULES, Candidate, Vote
from apple_seg.replay import ReplayNote
from apple_seg.views import VIEWS


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """The `[fit]` table: how to train, and nothing of what to train."""

    __pydantic_config__ = {"extra": "forbid"}  # where the experiment file is read

    epochs: int = 5
    batch_size: int = 32
    """Cases a batch, over all processes together."""

    learning_rate: float = 1e-3
    """Of the perturbers at the start; it falls to zero along a cosine."""

    weight_decay: float = 0.0
    """Of the perturbers, as AdamW has it: decoupled from the gradient."""

    average: float = 0.0
    """Decay, a step, of a running mean of the perturbers' weights; validated and kept is then the
    mean. 0 keeps none. A mean of the last hundred steps or so (0.99) is steadier than the last,
    where a fit has several hundred; of fewer it holds too much of the start, and `fit` says so."""

    selection: str | None = None
    """Which epoch is kept, by validation; see `perturb/selection.py`. None for the method's own:
    "worst-group", or "latest" where a gain in Dice is not what the method is for."""

    margin: float = 0.01
    """How much mean Dice no group may lose on validation."""

    patience: int | None = None
    """Stop after so many epochs in a row of which the rule would keep none; None never stops."""

    seed: int = 0
    """Of the perturbers' and the discriminator's start and of the order of cases."""

    balanced: bool = False
    """Draw each group equally often; cases of unknown group are then left out."""

    labelled: float = 0.5
    """At least this share of draws is of cases that have a mask, where some have none and are
    fitted to a consensus: a hundred masks are not lost among two thousand images. 0 draws each case
    alike; so does `balanced`, which looks at groups alone."""

    draws: int | None = None
    """Cases drawn an epoch, where that is not to be each of them once: with a hundred cases an
    epoch of a thousand draws shows each ten times between two validations."""

    views: tuple[str, ...] = ("as-is",)
    """Each case is seen in one of these, drawn anew every epoch: "as-is", "flip-h", "flip-w",
    "flip-hw", "flip-d" (mirrored along height, width, depth), "turn-90", "turn-270", "transpose",
    "antitranspose" (height and width exchanged). Views in which the host is at a loss, because it
    was not trained in them, pull a vote down: leave them out."""

    prompts: int = 1
    """So many boxes or points are drawn from each true mask, and one of them used at a time; for
    hosts whose prompts come from the truth."""

    accumulate: int = 1
    """Batches a step of the perturbers' optimiser, where a larger one does not fit into memory. A
    discriminator learns from each batch by itself."""

    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    """Of the host's own arithmetic; perturbers stay in float32."""

    trackers: tuple[str, ...] = ()
    """What accelerate can log to: "tensorboard", "mlflow", "wandb", ..."""

    def __post_init__(self) -> None:
        self._check_drawing()
        sound = 0 < self.learning_rate < float("inf") and 0 <= self.margin < 1
        if self.epochs < 1 or self.batch_size < 2 or not sound:
            raise ConfigError(
                "a fit needs 1 epoch and a batch of 2 at least, a positive learning rate, and a "
                f"margin from 0 to below 1; got epochs={self.epochs}, "
                f"batch_size={self.batch_size}, learning_rate={self.learning_rate}, "
                f"margin={self.margin}"
            )
        if not (0 <= self.weight_decay < float("inf") and 0 <= self.average < 1):
            raise ConfigError(
                "weight_decay is not negative, and average from 0 to below 1; got "
                f"{self.weight_decay}, {self.average}"
            )
        if self.selection is not None and self.selection not in RULES:
            known = ", ".join(RULES)
            raise ConfigError(
                f"no rule {self.selection!r}{meant(self.selection, RULES)}; known are: {known}"
            )
        if self.accumulate < 1 or (self.patience is not None and self.patience < 1):
            raise ConfigError(
                f"accumulate and patience are 1 at least; got {self.accumulate}, {self.patience}"
            )

    def _check_drawing(self) -> None:
        unknown = [view for view in self.views if view not in VIEWS]
        if unknown or not self.views or len({*self.views}) < len(self.views):
            raise ConfigError(
                f"views are one or more different ones of {', '.join(VIEWS)}; got {self.views}"
            )
        if self.draws is not None and self.draws < self.batch_size:
            raise ConfigError(
                f"an epoch draws a batch of {self.batch_size} cases at least, got "
                f"draws={self.draws}"
            )
        if not 0 <= self.labelled < 1:
            raise ConfigError(f"labelled lies from 0 to below 1, got {self.labelled}")
        if self.prompts < 1:
            raise ConfigError(f"a case has 1 prompt at least, got prompts={self.prompts}")


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
    """The one that is kept, answering in one view."""

    candidates: tuple[Candidate, ...]
    """The identity, then a candidate an epoch, as validation saw them."""

    losses: tuple[Mapping[str, float], ...]
    """Mean of every loss term, an epoch each."""

    seconds: float
    """Wall clock of training and validation."""

    training_seconds: tuple[float, ...] = ()
    """Wall clock of each epoch's training alone."""

    judged_by: Literal["masks", "host", "consensus"] = "masks"
    """What the Dice of validation is against: drawn masks; the host's own; or drawn masks as far as
    there are any, and the mean of the host's own views for the other cases."""

    groups: Mapping[str, int] = field(default_factory=dict)
    """Cases fitted on, by group; `unknown` are in no group."""

    replay: ReplayNote | None = None
    """Whether the encoder was replayed, and why not."""

    vote: Vote | None = None
    """Answers by the vote of all views, where the method asks for them."""

    @property
    def answer(self) -> Candidate:
        """What validation says of the segmentor as it answers now: at once, or by vote."""
        return self.vote.candidate if self.vote and self.vote.kept else self.selected

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        plain = asdict(self)
        plain["method"]["sites"] = list(self.sites)
        parts = asdict(self.method.parts) | {"sites": list(self.sites)}
        plain["answer"] = asdict(self.answer)
        untrained = ("loss", "weighting", "terms") if self.method.solved else ()
        plain["parts"] = {name: part for name, part in parts.items() if name not in untrained}
        return plain
