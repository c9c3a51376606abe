"""How a deployed checkpoint is built and used: without it no audit is of the thing deployed."""

import importlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import nn

from apple_seg.errors import ConfigError
from apple_seg.host.adapters import Segment
from apple_seg.host.checkpoint import load_checkpoint

_STRICT = {"extra": "forbid"}  # for pydantic, where the experiment file is read


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """From an image as stored to what the host takes: clip, resize, normalise, pad."""

    __pydantic_config__ = _STRICT

    size: tuple[int, ...] | None = None
    """The host's grid, (H, W) or (H, W, D); None where it takes images as they are."""

    fit: Literal["stretch", "longest"] = "stretch"
    """Stretch the image to `size`; or keep its aspect, bring it inside `size`, and pad at the
    right and bottom with zeros after normalising (SAM)."""

    channels: Literal["as-stored", "rgb", "bgr", "grey"] = "as-stored"
    """What the host expects; grey images are repeated to three channels, colour is averaged."""

    clip: tuple[float, float] | None = None
    """Values below and above are set to these first (a CT window)."""

    normalise: Literal["fixed", "per-image"] = "fixed"
    """`(image / divide - mean) / std` with the numbers below, or with each image's own mean and
    standard deviation over all its voxels."""

    divide: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        numbers = (self.divide, *self.std, *self.mean)
        if not all(map(math.isfinite, numbers)) or 0 in (self.divide, *self.std):
            raise ConfigError(
                f"divide and std must be finite and not 0; got divide={self.divide}, "
                f"mean={self.mean}, std={self.std}"
            )
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise ConfigError(f"clip is (low, high), got {self.clip}")
        if self.size is not None and (len(self.size) not in (2, 3) or min(self.size) < 1):
            raise ConfigError(f"size is (H, W) or (H, W, D) in voxels, got {self.size}")


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """From what the host returns to masks."""

    __pydantic_config__ = _STRICT

    kind: Literal["logits", "probabilities"] = "logits"
    activation: Literal["sigmoid", "softmax"] = "sigmoid"

    threshold: float = 0.5
    """On the sigmoid; with softmax the largest channel wins."""

    background: int = 0
    """With softmax: the channel that is no class."""

    channels: Mapping[str, int] = field(default_factory=dict)
    """Class name to output channel. By default the cohort's classes in their order, from channel 0
    with sigmoid and from channel 1 with softmax."""

    def __post_init__(self) -> None:
        used = list(self.channels.values())
        if not 0 < self.threshold < 1 or min([*used, self.background]) < 0:
            raise ConfigError(
                "a threshold lies between 0 and 1 and channels count from 0; got "
                f"threshold={self.threshold}, channels={dict(self.channels)}"
            )
        if self.activation == "softmax" and self.background in used:
            raise ConfigError(
                f"channel {self.background} is background and cannot be a class too; "
                "set [host.output] background"
            )


@dataclass(frozen=True, kw_only=True)
class PromptSpec:
    """What the host is told beside the image."""

    __pydantic_config__ = _STRICT

    kind: Literal["none", "box", "point"] = "none"

    columns: tuple[str, ...] = ()
    """Columns of the manifest in pixels of the image: x0, y0, x1, y1 of a box, or x, y of a point.
    Empty: taken from the true mask, and every report says *ground-truth prompt*."""

    jitter: float = 0.05
    """With truth: how far each edge of the box may move, as a share of its side; the point
    is drawn anywhere in the mask."""

    seed: int = 0
    """With truth: drawn per case, by this seed and the case's name, equal before and after."""

    def __post_init__(self) -> None:
        needed = {"none": 0, "box": 4, "point": 2}[self.kind]
        if len(self.columns) not in (0, needed):
            raise ConfigError(
                f"a {self.kind} prompt has {needed} columns, or none to take it from the truth; "
                f"got {self.columns}"
            )
        if not 0 <= self.jitter < 0.5:
            raise ConfigError(f"jitter is a share from 0 to below 0.5, got {self.jitter}")

    @property
    def from_truth(self) -> bool:
        """Whether the prompts use the masks that the audit scores against."""
        return self.kind != "none" and not self.columns


@dataclass(frozen=True, kw_only=True)
class HostSpec:
    """The `[host]` table: how to build a host, and how it is used in deployment."""

    __pydantic_config__ = _STRICT

    factory: str
    """`package.module:callable` that returns the network."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the factory."""

    none: tuple[str, ...] = ()
    """Arguments that are None, which TOML cannot say: `none = ["encoder_weights"]`."""

    checkpoint: Path | None = None
    """File with all of its weights; None where the factory loads them."""

    trust_pickle: bool = False
    """Whether the checkpoint may run code as it is read; see `load_checkpoint`."""

    segment: str | None = None
    """`package.module:function` with `(host, images, **prompts) -> logits`, for a host that no
    adapter knows and that does not return logits."""

    input: InputSpec = field(default_factory=InputSpec)
    output: OutputSpec = field(default_factory=OutputSpec)
    prompt: PromptSpec = field(default_factory=PromptSpec)

    def __post_init__(self) -> None:
        tables = {"input": InputSpec, "output": OutputSpec, "prompt": PromptSpec}
        for name, kind in tables.items():
            if not isinstance(given := getattr(self, name), kind):
                raise ConfigError(
                    f"{name} is a {type(given).__name__}, and must be an apple_seg.{kind.__name__}"
                    "; HostSpec.from_identity takes the tables of a file as they are"
                )
        try:
            json.dumps(self.identity())
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"a host is described by values that JSON can hold ({error}): numbers, strings, "
                "lists and tables; put the rest into a factory of your own"
            ) from error

    def build(self, device: str | torch.device = "cpu") -> nn.Module:
        """Return the host with its weights, in eval mode.

        Raises:
            ConfigError: The factory cannot be imported or called.
            CheckpointError: The checkpoint is not this host's.
        """
        factory = _import(self.factory)
        try:
            host = factory(**self.arguments, **dict.fromkeys(self.none))
        except Exception as error:
            given = {**self.arguments, **dict.fromkeys(self.none)}
            raise ConfigError(
                f"{self.factory} does not take these arguments, {given}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not isinstance(host, nn.Module):
            raise ConfigError(f"{self.factory} returned a {type(host).__name__}, not a network")
        if self.checkpoint is not None:
            load_checkpoint(host, self.checkpoint, trust_pickle=self.trust_pickle)
        try:
            return host.eval().to(device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"no device {str(device)!r} here: {error}") from error

    def segment_function(self) -> Segment | None:
        """Return the function that `segment` names, if any."""
        return None if self.segment is None else _import(self.segment)

    def channel_of(self, classes: Sequence[str]) -> list[int]:
        """Return the output channel of each class.

        Raises:
            ConfigError: A class has no channel.
        """
        first = 1 if self.output.activation == "softmax" else 0
        known = self.output.channels or {name: i + first for i, name in enumerate(classes)}
        if missing := [name for name in classes if name not in known]:
            raise ConfigError(
                f"the host's output has no channel for {', '.join(missing)}; "
                f"[host.output.channels] knows {dict(known)}"
            )
        return [known[name] for name in classes]

    def identity(self) -> dict[str, Any]:
        """Return what makes two specs the same use of a host: all but where its file lies."""
        described = asdict(self)
        del described["checkpoint"], described["trust_pickle"]
        return described

    @classmethod
    def from_identity(cls, described: Mapping[str, Any]) -> Self:
        """Return the spec that `identity` described; what an older version left out is default.

        Raises:
            ConfigError: A newer version said more than this one knows.
        """
        parts = {"input": InputSpec, "output": OutputSpec, "prompt": PromptSpec}
        try:
            made = {name: part(**described.get(name, {})) for name, part in parts.items()}
            return cls(**{**described, **made})
        except TypeError as error:
            raise ConfigError(f"a host described by another version: {error}") from error


def _import(path: str) -> Any:
    """Return the object at `package.module:name`."""
    module, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"cannot import {path!r} ({error}); write it as package.module:name"
        ) from error
    return found
