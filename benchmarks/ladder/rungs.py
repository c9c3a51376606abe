"""The rungs: every method with its settings, as they were chosen on validation.

What is the same for all of a host and a number of cases stands in `COMMON`: how long, how many
cases an epoch, in which views, which epoch is kept. What is a rung's own stands in `RUNGS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from apple_seg.perturb import FitSettings, MethodSpec

FLIPS = ("as-is", "flip-h", "flip-w", "flip-hw")


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One method of the ladder."""

    method: MethodSpec
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the common settings."""

    whole_host: bool = False
    """Whether the host itself is trained: the limit."""

    from_scratch: bool = False
    """Whether the host starts without its checkpoint."""


CONTROL, DEFAULT = "segmentation-only", "segmentation-only"

RUNGS: Mapping[str, Rung] = {
    "segmentation-only": Rung(method=MethodSpec(name="segmentation-only")),
    "fine-tuning": Rung(method=MethodSpec(name="segmentation-only"), whole_host=True),
}


def settings_of(rung: Rung, host: str, cases: int, seed: int) -> FitSettings:
    """Return how a rung is fitted on so many cases of a host."""
    few = cases <= 200
    common = FitSettings(
        epochs=8,
        batch_size=16,
        draws=1000 if few else None,
        views=FLIPS,
        seed=seed,
    )
    return replace(common, **rung.settings)
