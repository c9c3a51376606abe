"""What is timed: five hosts with random weights, and a cohort of any size that takes no disk."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

from apple_seg.data import Cohort, Groups
from apple_seg.data.sources import MemorySource
from apple_seg.host import HostSpec, InputSpec, Pipeline, PromptSpec, prepare, wrap

GROUPS = Groups(by={"group": ["A", "B"]}, reference="group = A")
_PICTURES = 64
_LEVELS = {"channels": [16, 32, 64, 128, 256], "strides": [2, 2, 2, 2]}
_MONAI = {"spatial_dims": 2, "in_channels": 3, "out_channels": 1, **_LEVELS}


@dataclass(frozen=True)
class Subject:
    """A host, the size it works at, and how much of it is timed."""

    factory: str
    arguments: Mapping[str, Any]
    size: int
    batch_size: int
    cases: int
    prompt: str = "none"
    none: tuple[str, ...] = ()
    finetune_batch: int | None = None
    """Smaller where fine-tuning a whole batch does not fit into memory."""

    @property
    def spec(self) -> HostSpec:
        """How it is built and used."""
        return HostSpec(
            factory=self.factory,
            arguments=self.arguments,
            none=self.none,
            input=InputSpec(size=(self.size, self.size), channels="rgb", divide=255.0),
            prompt=PromptSpec(kind=self.prompt),  # type: ignore[arg-type]
        )

    def pipeline(self, sites: str, device: str = "cpu") -> Pipeline:
        """Return the host with random weights, wrapped at its sites."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            host: nn.Module = self.spec.build(device)
        example = prepare([cohort(1, self.size)[0]], self.spec)
        weights = next(host.parameters())
        prompts = {name: value.to(weights) for name, value in example.prompts.items()}
        segmentor = wrap(host, example.images.to(weights), sites=sites, prompts=prompts)
        return Pipeline(segmentor, self.spec, ["lesion"])


SUBJECTS: Mapping[str, Subject] = {
    "unet": Subject(
        "monai.networks.nets:UNet", {**_MONAI, "num_res_units": 2, "norm": "batch"}, 128, 32, 256
    ),
    "attention-unet": Subject("monai.networks.nets:AttentionUnet", _MONAI, 128, 32, 128),
    "smp-unet": Subject(
        "segmentation_models_pytorch:Unet",
        {"encoder_name": "tu-resnet18", "classes": 1},
        256,
        16,
        64,
        none=("encoder_weights",),
    ),
    "sam-tiny-vit": Subject(
        "benchmarks.hosts.networks:sam",
        {"encoder": "tiny-vit", "image_size": 256},
        256,
        16,
        64,
        "box",
    ),
    "sam-vit-b": Subject(
        "segment_anything:build_sam_vit_b", {}, 1024, 2, 4, "box", finetune_batch=1
    ),
}


def cohort(cases: int, size: int, split: str = "train") -> Cohort:
    """Return so many cases: smooth JPEG images with a square, some pictures under many names.

    An image is decoded each time that it is read, as one on disk would be.
    """
    draw = np.random.default_rng(0)
    pictures = [_picture(draw, size) for _ in range(min(_PICTURES, cases))]
    files: dict[str, bytes] = {}
    rows = []
    for place in range(cases):
        image, mask = pictures[place % len(pictures)]
        name = f"{split}/{place}"
        files |= {f"{name}.jpg": image, f"{name}.png": mask}
        rows.append((f"{name}.jpg", name, f"{name}.png", split, "AB"[place % 2]))
    table = pd.DataFrame(rows, columns=["case", "cluster", "mask", "split", "group"])
    return Cohort(table.astype("string"), MemorySource(files), {"lesion": 1})


def _picture(draw: np.random.Generator, size: int) -> tuple[bytes, bytes]:
    coarse = draw.integers(0, 200, (size // 8, size // 8, 3), dtype=np.uint8)
    image = np.array(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
    mask = np.zeros((size, size), np.uint8)
    top, left = draw.integers(size // 8, size // 2, 2)
    mask[top : top + size // 3, left : left + size // 3] = 1
    image[mask > 0] = image[mask > 0] // 2 + 100
    return _encoded(image, "JPEG"), _encoded(mask, "PNG")


def _encoded(array: np.ndarray[Any, Any], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()
