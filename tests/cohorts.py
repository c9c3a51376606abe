"""Tiny cohorts in memory, of known content."""

import io

import numpy as np
import pandas as pd

from apple_seg.data import Cohort, Groups
from apple_seg.data.sources import MemorySource
from apple_seg.host import HostSpec, InputSpec

GROUPS = Groups(by={"group": ["A", "B"]}, reference="group = A")
SPEC = HostSpec(factory="hosts:ToyHost", input=InputSpec(size=(16, 16)))


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def toy_cohort(n=24, *, split="train", seed=0, groups=("A", "B"), size=16, masked=True):
    """Images whose blue channel draws the mask, and whose red channel tells the group."""
    draw = np.random.default_rng(seed)
    files, rows = {}, []
    for i in range(n):
        group = groups[i % len(groups)]
        image = draw.random((size, size, 3)).astype(np.float32)
        y, x = draw.integers(2, size - 8, 2)
        mask = np.zeros((size, size), np.uint8)
        mask[y : y + 6, x : x + 6] = 1
        image[..., 2] += 2 * mask
        image[..., 0] += 2.0 * (group == "B")
        name = f"{split}/{i}"
        files |= {f"{name}.npy": npy(image), f"{name}-mask.npy": npy(mask)}
        rows.append((f"{name}.npy", f"{split}-p{i // 2}", f"{name}-mask.npy", split, group))
    table = pd.DataFrame(rows, columns=["case", "cluster", "mask", "split", "group"])
    if not masked:
        table["mask"] = ""
    return Cohort(table.astype("string"), MemorySource(files), {"lesion": 1})
