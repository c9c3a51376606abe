"""The rungs: every method with its settings, as they were chosen on validation.

What is the same for all of a host and a number of cases stands in `settings_of`: how long, how
many cases an epoch, in which views. What is a rung's own stands in `RUNGS`. Objectives are
compared at the same sites and with the same perturber, so that they differ in the objective alone,
but APPLE, which is as published. What is solved, or random, acts where the decoder reads. What
sites and perturbers bring is told by `segmentation-only-decoder` and `affine`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from apple_seg.perturb import FitSettings, MethodSpec

VIEWS = (
    "as-is",
    "flip-h",
    "flip-w",
    "flip-hw",
    "turn-90",
    "turn-270",
    "transpose",
    "antitranspose",
)
"""Dermoscopy has no up and down."""

VIEWS_OF: Mapping[str, tuple[str, ...]] = {"unet": VIEWS, "sam": VIEWS[:4]}
"""What a host is fitted in and votes by. Both were trained in mirrors. In a quarter turn, which it
has not seen, the SAM-like one is 2 to 5 Dice points worse on validation, so that turns pull its
vote down."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One method of the ladder."""

    method: MethodSpec
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the common settings."""

    few: Mapping[str, Any] = field(default_factory=dict)
    """What differs further where at most `FEW` cases are fitted on."""

    on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """And what differs on a host, whatever the number of cases."""

    images: Literal["labelled", "unlabelled", "both"] = "labelled"
    """Fitted on so many cases with their masks, on the same without theirs, or on these with
    theirs and on every other case that the team has without."""

    trains: Literal["perturbers", "host", "host from scratch", "nothing"] = "perturbers"
    """What is trained: perturbers between the host's layers; the limit, which is the host itself,
    with or without its checkpoint; or nothing."""

    beside: str | None = None
    """What else it is told from, besides the host and the common control: its own control, where
    it is fitted at other sites or with another perturber; or what it has to be better than."""

    weights_of: str | None = None
    """Which rung is trained just so, and answers otherwise. Its weights are taken."""

    @property
    def whole_host(self) -> bool:
        """Whether the host's own weights are trained."""
        return self.trains.startswith("host")

    @property
    def votes(self) -> bool:
        """Whether a case is answered by the vote of all views, if validation prefers that."""
        return self.method.parts.vote


CONTROL = "segmentation-only"

DEFAULT = "consensus"
"""The library's default method, chosen on validation; `MethodSpec` says why. Views and the running
mean are those of `settings_of`: without several views there is no vote. Fitted on cases that all
have masks it trains what the control does, and answers by vote."""

LIMIT = "fine-tuning"
"""What training the whole host brings."""

_BESIDE = {"draws": None}
"""Where a few cases have masks, and all the others that a team has are fitted on beside them."""

_WHOLE: Mapping[str, Any] = {
    "settings": {"learning_rate": 1e-3},
    "few": {"learning_rate": 3e-4},
    "on": {"sam": {"learning_rate": 3e-4}},
    "trains": "host",
}
"""How the whole host is trained: of 1e-3, 3e-4 and 1e-4 the SAM-like host's is the best on
validation."""

_ASKED_FOR = {"sam": {"margin": 0.03}}
"""Erasure that costs the SAM-like host less than a Dice point, but those who are served worst one
to two, which validation would turn down: what it erases is to be seen."""

RUNGS: Mapping[str, Rung] = {
    "views": Rung(method=MethodSpec(name="segmentation-only", vote=True), trains="nothing"),
    "random": Rung(method=MethodSpec(name="random")),
    "leace": Rung(method=MethodSpec(name="leace")),
    "leace-statistics": Rung(method=MethodSpec(name="leace-statistics"), on=_ASKED_FOR),
    "standardise": Rung(method=MethodSpec(name="standardise")),
    "apple": Rung(method=MethodSpec(name="apple"), beside="apple-control"),
    "apple-control": Rung(
        method=MethodSpec(name="segmentation-only", sites="bottleneck", perturber="residual")
    ),
    "segmentation-only-decoder": Rung(method=MethodSpec(name="segmentation-only", sites="all")),
    "segmentation-only": Rung(method=MethodSpec(name="segmentation-only")),
    "affine": Rung(method=MethodSpec(name="segmentation-only", perturber="affine")),
    "worst-group": Rung(method=MethodSpec(name="worst-group")),
    "febs": Rung(method=MethodSpec(name="febs")),
    "hsic": Rung(method=MethodSpec(name="hsic")),
    "consensus": Rung(method=MethodSpec(name="consensus"), weights_of=CONTROL),
    "consensus-semi-supervised": Rung(
        method=MethodSpec(name="consensus"), settings=_BESIDE, images="both", beside=DEFAULT
    ),
    "consensus-unsupervised": Rung(
        method=MethodSpec(name="consensus"), images="unlabelled", beside="views"
    ),
    LIMIT: Rung(method=MethodSpec(name="segmentation-only"), **_WHOLE),
    "fine-tuning-consensus": Rung(method=MethodSpec(name="consensus"), weights_of=LIMIT, **_WHOLE),
    "fine-tuning-semi-supervised": Rung(
        method=MethodSpec(name="consensus"),
        images="both",
        **{**_WHOLE, "settings": {**_BESIDE, **_WHOLE["settings"]}, "few": {}},
    ),
    # For as many epochs as the UNet that is the host was trained.
    "from-scratch": Rung(
        method=MethodSpec(name="segmentation-only"),
        settings={"learning_rate": 1e-3, "epochs": 40},
        trains="host from scratch",
    ),
}

ON_DEMAND = ("from-scratch",)
"""Fitted where it is named, not where all rungs are asked for: it takes as long as the others of a
seed together."""

ALL_CASES: Mapping[str, Mapping[str, Any]] = {
    "unet": {"epochs": 4, "learning_rate": 2e-3},
    "sam": {"epochs": 2, "learning_rate": 2e-3},
}
"""How perturbers go through all of a team's cases, by host; the rates are the best on validation
of 1e-3 to 1e-2, and of those tried up to 4e-3. A pass of the SAM-like host takes several times as
long."""

FEW = 200
"""Up to so many cases, the whole host is trained more gently."""

DRAWN = 1000
"""Cases an epoch, where a team has at most half as many. On 500 once through, validation kept the
host as it is from fine-tuning, and gave the control half of what it finds so (seed 0, the UNet
under-represented); there 1e-3 was the better rate for both."""


def settings_of(rung: Rung, cases: int, seed: int, *, host: str = "unet") -> FitSettings:
    """Return how a rung is fitted to a host on so many cases."""
    drawn = DRAWN if cases <= DRAWN // 2 else None
    through_all = drawn is None or "draws" in rung.settings
    pace = ALL_CASES[host] if through_all else {"epochs": 4, "learning_rate": 1e-3}
    common = FitSettings(
        batch_size=16,
        draws=drawn,
        views=VIEWS_OF[host],
        average=0.99,
        mixed_precision="bf16",
        seed=seed,
        **pace,
    )
    fewer = rung.few if cases <= FEW else {}
    return replace(common, **{**rung.settings, **fewer, **rung.on.get(host, {})})
