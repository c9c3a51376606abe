"""Dermoscopy-like images of planted truth: who is rare, what shows, and what disturbs is known."""

import csv
import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apple_seg.data.cohort import Cohort
from apple_seg.data.groups import Groups
from apple_seg.data.manifest import Manifest
from apple_seg.data.sources import MemorySource
from apple_seg.files import replacing

GROUPS = Groups(by={"group": ["A", "B"]}, reference="group = A")
"""The planted groups of every cohort of this file."""

SPLITS = {"host": (570, 30), "train": (200, 200), "val": (100, 100), "test": (150, 150)}
"""Cases of A and of B: the host learns on `host`, where B is rare; the rest is balanced."""

_COLUMNS = ("image", "mask", "patient_id", "group", "age", "split")
_COLOURS = np.array(
    [
        [0.87, 0.70, 0.62],  # light skin
        [0.60, 0.45, 0.37],  # dark skin
        [0.30, 0.35, 0.31],  # what a lesion takes from it
        [-0.02, 0.05, 0.12],  # blue-grey patches of a lesion
        [0.70, 1.00, 1.00],  # blotches
        [0.17, 0.12, 0.10],  # hair
    ],
    dtype=np.float32,
)
_LIGHT, _DARK, _ABSORBED, _VEIL, _BLOTCH, _HAIR = _COLOURS[..., None, None]


@dataclass(frozen=True, kw_only=True)
class Dermoscopy:
    """A planted cohort: lesions on skin, hair, vignette, uneven light, noise.

    With `shows=0` and `disturbs=0` the images of A and B come from one distribution.
    """

    size: int = 96
    """Height and width in pixels."""

    shows: float = 1.0
    """0 to 1: how much darker B's skin is. The lesion takes the same amounts of light from
    either skin, so that no less is to be seen."""

    disturbs: float = 1.0
    """0 to 1: how much harder B's lesions are to segment: contrast, border, hair, blotches."""

    splits: Mapping[str, Sequence[int]] = field(default_factory=lambda: dict(SPLITS))
    """Split to its number of cases of A and of B."""

    images_per_patient: int = 3
    """A patient has one to so many images, with the same skin, age and hair."""

    age_gap: float = 0.0
    """Years by which B is older on average; 0 makes the age say nothing."""

    unknown: float = 0.02
    """Share of patients whose group is not recorded, and of those whose age is not."""

    seed: int = 0
    """Each case depends on this, its split, group and place there, and on nothing else."""

    def __post_init__(self) -> None:
        for name, value in (("shows", self.shows), ("disturbs", self.disturbs)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} goes from 0 to 1, got {value}")
        if not 0 <= self.unknown < 1:
            raise ValueError(f"unknown is a share below 1, got {self.unknown}")
        if self.size < 16 or self.images_per_patient < 1 or self.seed < 0:
            raise ValueError(
                "size must be 16 or more, images_per_patient 1 or more, seed 0 or more; got "
                f"{self.size}, {self.images_per_patient}, {self.seed}"
            )
        for split, counts in self.splits.items():
            if len(counts) != 2 or min(counts) < 0:
                raise ValueError(f"split {split!r}: give its cases of A and of B, got {counts}")


def cohort(settings: Dermoscopy) -> Cohort:
    """Return the planted cohort, in memory, read by the path that files take."""
    return manifest(Path("memory")).read_from(MemorySource(_files(settings)))


def write(settings: Dermoscopy, path: Path) -> Manifest:
    """Write the planted cohort as one zip, and return the manifest that reads it."""
    # Stored, not deflated: pictures do not get smaller, and a fixed time keeps it equal.
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in _files(settings).items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return manifest(path)


def manifest(root: Path) -> Manifest:
    """Return the manifest that reads what `write` wrote to `root`."""
    return Manifest(root=root, classes={"lesion": 255})


class _Look(NamedTuple):
    """What decides how one image looks, lengths in shares of the image's size."""

    skin: NDArray[np.float32]
    contrast: float
    border: float
    hairs: int
    blotches: float


class _Patient(NamedTuple):
    """What the images of one patient share."""

    name: str
    rng: np.random.Generator
    images: int
    look: _Look
    attributes: tuple[str, str]


def _files(settings: Dermoscopy) -> dict[str, bytes]:
    """Return all files of the cohort by name, `cases.csv` first."""
    rows: list[tuple[str, ...]] = []
    pictures: dict[str, bytes] = {}
    for split, counts in settings.splits.items():
        for group, count in zip("AB", counts, strict=True):
            for patient in _patients(settings, split, group, count):
                for index, rng in enumerate(patient.rng.spawn(patient.images)):
                    name = f"{patient.name}_{index}.png"
                    image, mask = _render(rng, settings.size, patient.look)
                    pictures[f"images/{name}"] = _png(image)
                    pictures[f"masks/{name}"] = _png(mask.astype(np.uint8) * 255)
                    files = (f"images/{name}", f"masks/{name}")
                    rows.append((*files, patient.name, *patient.attributes, split))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *rows])
    return {"cases.csv": text.getvalue().encode(), **pictures}


def _patients(settings: Dermoscopy, split: str, group: str, count: int) -> Iterator[_Patient]:
    """Yield patients until their images are `count`; the first ones do not depend on `count`."""
    number = 0
    while count > 0:
        key = (settings.seed, zlib.crc32(split.encode()), ord(group), number)
        rng = np.random.default_rng(key)
        images = min(count, int(rng.integers(1, settings.images_per_patient + 1)))
        older = settings.age_gap / 2 * (1 if group == "B" else -1)
        age = f"{np.clip(rng.normal(52 + older, 16), 1, 95):.0f}"
        group_lost, age_lost = rng.random(2) < settings.unknown
        attributes = ("unknown" if group_lost else group, "" if age_lost else age)
        is_b = float(group == "B")
        look = _look(rng, settings.shows * is_b, settings.disturbs * is_b)
        # The name must not give the group away: it is the group's only in the random stream.
        name = f"{split}_{zlib.crc32(repr(key).encode()):08x}"
        yield _Patient(name, rng, images, look, attributes)
        count -= images
        number += 1


def _look(rng: np.random.Generator, shows: float, disturbs: float) -> _Look:
    """Draw a patient's look; both dials at 0 is group A."""
    tone = min(max(rng.normal(0.1, 0.12) + 0.9 * shows, -0.1), 1.1)
    cast = 0.012 * rng.standard_normal((3, 1, 1), dtype=np.float32)
    return _Look(
        skin=_LIGHT + tone * (_DARK - _LIGHT) + cast,
        contrast=rng.uniform(0.8, 1.1) * (1 - 0.55 * disturbs),
        border=rng.uniform(0.010, 0.018) * (1 + 1.5 * disturbs),
        hairs=int(rng.poisson(3 + 9 * disturbs)),
        blotches=rng.uniform(0.010, 0.020) * (1 + 0.5 * disturbs),
    )


def _render(
    rng: np.random.Generator, size: int, look: _Look
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw one image (H, W, 3) and its mask (H, W)."""
    y, x, radius = _grid(size)
    inside, depth = _lesion(rng, y, x)
    alpha = 1 / (1 + np.exp(-np.clip(depth / look.border, -30, 30)))
    # Darker to one side, with patches: dermatologists look for this asymmetry.
    lean = rng.uniform(0, math.tau)
    side = math.cos(lean) * x + math.sin(lean) * y
    amount = 1 + 0.5 * side + 0.16 * _smooth(rng, size, 6)
    veil = np.clip(_smooth(rng, size, 5), 0, 1.5) * rng.uniform(0, 0.8)
    image = look.skin - alpha * look.contrast * (amount * _ABSORBED - veil * _VEIL)
    image -= look.blotches * _smooth(rng, size, 7) * _BLOTCH
    cover = 0.75 * _hair(rng, size, look.hairs)
    image += cover * (_HAIR - image)
    slope = rng.uniform(0, math.tau)
    light = 1 + rng.uniform(0, 0.12) * (math.cos(slope) * x + math.sin(slope) * y)
    light *= 1 - rng.uniform(2.0, 3.6) * np.clip(radius - 1, 0, 1) ** 2
    image *= np.clip(light, 0.1, None)
    image += 0.018 * rng.standard_normal(image.shape, dtype=np.float32)
    pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0)), inside


def _lesion(
    rng: np.random.Generator, y: NDArray[np.float32], x: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Return a mask, smooth and irregular, and the depth below its border (negative outside)."""
    y0, x0 = rng.uniform(-0.22, 0.22, 2).tolist()
    stretch, tilt = math.sqrt(rng.uniform(1.0, 1.45)), rng.uniform(0, math.pi)
    along = math.cos(tilt) * (x - x0) + math.sin(tilt) * (y - y0)
    across = math.cos(tilt) * (y - y0) - math.sin(tilt) * (x - x0)
    distance = np.hypot(along / stretch, across * stretch)
    angle = np.arctan2(across, along)
    orders = np.arange(2, 8)
    waves = (rng.normal(0, 0.16, 6) / (orders - 0.5)).astype(np.float32)
    phases = rng.uniform(0, math.tau, 6).astype(np.float32)
    outline = np.ones_like(angle)
    for order, wave, phase in zip(orders.tolist(), waves, phases, strict=True):
        outline += wave * np.cos(order * angle + phase)
    border = rng.uniform(0.25, 0.62) * np.clip(outline, 0.4, None)
    # The grid runs over [-1, 1]: halved, depths are shares of the image's size.
    return distance <= border, (border - distance) / 2


def _smooth(rng: np.random.Generator, size: int, cells: int) -> NDArray[np.float32]:
    """Return a smooth random field (size, size) of unit variance, about `cells` bumps across."""
    basis = _bumps(size, cells)
    heights = rng.standard_normal((cells + 2, cells + 2), dtype=np.float32)
    return np.asarray(basis @ heights @ basis.T, dtype=np.float32)


def _hair(rng: np.random.Generator, size: int, hairs: int) -> NDArray[np.float32]:
    """Return how much of each pixel (size, size) is covered by hair, in [0, 1]."""
    steps = np.linspace(0, 1, 2 * size)
    start = rng.uniform(-0.1, 1.1, (hairs, 2, 1))
    heading = rng.normal(rng.uniform(0, 2 * np.pi), 0.6, (hairs, 1))
    length, bend = rng.uniform(0.25, 0.9, (hairs, 1)), rng.normal(0, 0.9, (hairs, 1))
    turn = heading + bend * steps
    path = np.stack([np.sin(turn), np.cos(turn)], 1) * (length[..., None] / (2 * size))
    points = ((start + path.cumsum(-1)) * size).swapaxes(0, 1).reshape(2, -1)
    thick = np.repeat(rng.uniform(0.3, 0.7, hairs) * size / 96, 2 * size)
    # Each point is shared out among its four pixels, which draws a line without steps.
    low = np.floor(points).astype(np.int64)
    part = points - low
    cover = np.zeros(size * size)
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = low[0] + dy, low[1] + dx
        weight = np.abs(1 - dy - part[0]) * np.abs(1 - dx - part[1]) * thick
        seen = (row >= 0) & (row < size) & (column >= 0) & (column < size)
        cover += np.bincount((row * size + column)[seen], weight[seen], size * size)
    return np.minimum(cover, 1).reshape(size, size).astype(np.float32)


@cache
def _grid(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return y (size, 1), x (1, size) in [-1, 1] and the distance from the middle (size, size)."""
    line = np.linspace(-1, 1, size, dtype=np.float32)
    return line[:, None], line[None, :], np.hypot(line[:, None], line[None, :])


@cache
def _bumps(size: int, cells: int) -> NDArray[np.float32]:
    """Return Gaussian bumps (size, cells + 2) along a line, scaled to unit variance."""
    line, centres = np.linspace(0, 1, size), np.linspace(-1 / cells, 1 + 1 / cells, cells + 2)
    bumps = np.exp(-0.5 * ((line[:, None] - centres) * cells) ** 2).astype(np.float32)
    scaled: NDArray[np.float32] = bumps / np.linalg.norm(bumps, axis=1, keepdims=True)
    return scaled


def _png(array: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(array).save(content, "PNG", compress_level=1)
    return content.getvalue()
