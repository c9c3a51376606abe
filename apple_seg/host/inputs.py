"""From cases to a host's input: preprocessing, frames, prompts."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from apple_seg.errors import CaseError
from apple_seg.host.spec import HostSpec, InputSpec, PromptSpec
from apple_seg.views import View

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
"""How a grid of so many axes is interpolated."""


class Sample(Protocol):
    """What a pipeline reads of a case."""

    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def image(self) -> NDArray[np.float32]: ...  # noqa: D102
    @property
    def mask(self) -> NDArray[np.bool_] | None: ...  # noqa: D102
    @property
    def row(self) -> Mapping[str, Any]: ...  # noqa: D102


class Picture(NamedTuple):
    """An image to be segmented: what production has of a case."""

    key: str
    """Names it in errors."""

    image: NDArray[np.float32]
    """(C, *spatial), values as stored in the file."""

    row: Mapping[str, Any] = MappingProxyType({})
    """The columns that prompts are read from, where they are read from columns."""

    mask: None = None
    """There is none, so that no prompt can be drawn from it."""

    @classmethod
    def of(cls, case: Sample, view: View) -> "Picture":
        """Return a case's image, turned."""
        return cls(case.key, view.of(case.image), case.row)


class Frame(NamedTuple):
    """Where an image lies on the host's grid."""

    native: tuple[int, ...]
    """Its own spatial shape."""

    inside: tuple[int, ...]
    """Its shape on the host's grid, from the first cell on; the rest is padding."""


class Inputs(NamedTuple):
    """A batch as the host takes it."""

    images: Tensor
    """(N, C, *grid)"""

    prompts: dict[str, Tensor]
    frames: tuple[Frame, ...]


def prepare(cases: Sequence[Sample], spec: HostSpec, *, draw: int = 0) -> Inputs:
    """Preprocess cases to one batch, in float32 on the CPU.

    Args:
        cases: Cases whose images fit together.
        spec: How the host is used.
        draw: Which of the prompts that may be drawn from the truth; 0 is the one of audits.

    Raises:
        CaseError: The images of the batch do not fit together.
    """
    prepared = [_prepare_image(case.image, spec.input) for case in cases]
    shapes = {tuple(image.shape) for image, _ in prepared}
    if len(shapes) > 1:
        raise CaseError(
            f"images of differing shapes {sorted(shapes)} cannot share a batch; "
            "set [host.input] size"
        )
    frames = tuple(frame for _, frame in prepared)
    images = torch.stack([image for image, _ in prepared])
    return Inputs(images, draw_prompts(cases, frames, spec.prompt, draw=draw), frames)


def frame_of(native: Sequence[int], spec: InputSpec) -> Frame:
    """Say where an image of this spatial shape lies on the host's grid.

    Raises:
        CaseError: It has another number of dimensions.
    """
    grid = spec.size or tuple(native)
    if len(grid) != len(native):
        raise CaseError(f"an image of {tuple(native)} cannot be brought to size {tuple(grid)}")
    inside = _inside(native, grid) if spec.fit == "longest" else tuple(grid)
    return Frame(tuple(native), inside)


def to_grid(planes: NDArray[np.bool_], frame: Frame, grid: Sequence[int]) -> Tensor:
    """Bring a mask (K, *native) to the host's grid (K, *grid) by nearest neighbour, as float."""
    mask = torch.from_numpy(planes).float()[None]
    inside = functional.interpolate(mask, frame.inside, mode="nearest-exact")
    return _pad(inside[0], grid)


def _prepare_image(image: NDArray[np.float32], spec: InputSpec) -> tuple[Tensor, Frame]:
    stored = _channels(torch.from_numpy(np.asarray(image, dtype=np.float32)), spec)
    frame = frame_of(tuple(stored.shape[1:]), spec)
    native, inside = frame
    if spec.clip is not None:
        stored = stored.clamp(*spec.clip)
    if inside != native:
        stored = functional.interpolate(
            stored[None], inside, mode=MODES[len(inside)], antialias=len(inside) == 2
        )[0]
    return _pad(_normalise(stored, spec), spec.size or native), frame


def _channels(image: Tensor, spec: InputSpec) -> Tensor:
    if spec.channels == "as-stored":
        return image
    if spec.channels == "grey":
        return image.mean(0, keepdim=True)
    if image.shape[0] not in (1, 3, 4):
        raise CaseError(
            f"an image of shape {tuple(image.shape)} where [host.input] channels = "
            f'"{spec.channels}": channels come first, and are 1 (grey), 3 or 4 (the last is left '
            "out)"
        )
    colour = image.expand(3, *image.shape[1:]) if image.shape[0] == 1 else image[:3]
    return colour.flip(0) if spec.channels == "bgr" else colour


def _normalise(image: Tensor, spec: InputSpec) -> Tensor:
    if spec.normalise == "per-image":
        return (image - image.mean()) / image.std().clamp_min(1e-8)
    for name, values in (("mean", spec.mean), ("std", spec.std)):
        if len(values) not in (1, len(image)):
            raise CaseError(
                f"[host.input] {name} has {len(values)} values, the image {len(image)} channels"
            )
    around = (-1,) + (1,) * (image.ndim - 1)
    mean, std = (torch.tensor(values).view(around) for values in (spec.mean, spec.std))
    return (image / spec.divide - mean) / std


def _inside(native: Sequence[int], grid: Sequence[int]) -> tuple[int, ...]:
    scale = min(cells / size for cells, size in zip(grid, native, strict=True))
    return tuple(
        min(cells, int(size * scale + 0.5)) for cells, size in zip(grid, native, strict=True)
    )


def _pad(image: Tensor, grid: Sequence[int]) -> Tensor:
    missing = [cells - size for cells, size in zip(grid, image.shape[1:], strict=True)]
    padding = [amount for cells in reversed(missing) for amount in (0, cells)]
    return functional.pad(image, padding) if any(padding) else image


def draw_prompts(
    cases: Sequence[Sample], frames: Sequence[Frame], spec: PromptSpec, *, draw: int = 0
) -> dict[str, Tensor]:
    """Return boxes (N, 4) as x0 y0 x1 y1, or points (N, 1, 2) and labels (N, 1), on the grid.

    Raises:
        CaseError: A case has neither the columns nor the mask that its prompt is taken from.
    """
    if spec.kind == "none":
        return {}
    drawn = torch.stack([_prompt(case, spec, draw) for case in cases])
    scale = torch.tensor(
        [[frame.inside[1] / frame.native[1], frame.inside[0] / frame.native[0]] for frame in frames]
    )
    if spec.kind == "box":
        return {"boxes": drawn * scale.repeat(1, 2)}
    points = (drawn * scale)[:, None]
    return {"points": points, "labels": torch.ones(points.shape[:2])}


def _prompt(case: Sample, spec: PromptSpec, which: int) -> Tensor:
    """Return one box (4,) or point (2,) in pixels of the image."""
    if spec.columns:
        try:
            numbers = [float(case.row[column]) for column in spec.columns]
        except (KeyError, ValueError) as error:
            columns = ", ".join(spec.columns)
            raise CaseError(f"{case.key}: no prompt in columns {columns} ({error})") from error
        ordered = spec.kind == "point" or (numbers[0] < numbers[2] and numbers[1] < numbers[3])
        if not all(map(math.isfinite, numbers)) or not ordered:
            raise CaseError(f"{case.key}: {numbers} is no {spec.kind}; a box is x0, y0, x1, y1")
        return torch.tensor(numbers)
    if case.mask is None or not case.mask.any():
        raise CaseError(f"{case.key}: no mask to take a {spec.kind} from; name its columns instead")
    named = f"{spec.seed}\0{case.key}" + (f"\0{which}" if which else "")
    seed = hashlib.sha256(named.encode()).digest()[:8]
    draw = np.random.default_rng(int.from_bytes(seed, "big"))
    rows, columns_ = np.nonzero(case.mask.any(0))
    if spec.kind == "point":
        chosen = draw.integers(len(rows))
        return torch.tensor([columns_[chosen] + 0.5, rows[chosen] + 0.5], dtype=torch.float32)
    box = np.array([columns_.min(), rows.min(), columns_.max() + 1, rows.max() + 1], dtype=float)
    sides = np.tile([box[2] - box[0], box[3] - box[1]], 2)
    box += draw.uniform(-spec.jitter, spec.jitter, 4) * sides
    height, width = case.mask.shape[1:]
    return torch.tensor(np.clip(box, 0, [width, height] * 2), dtype=torch.float32)
