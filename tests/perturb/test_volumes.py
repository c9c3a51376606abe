"""The same fit on volumes: a 3D UNet, its skips, and masks on the native grid."""

import numpy as np
import pandas as pd
import torch
from monai.networks.nets import UNet

from apple_seg.data import Cohort
from apple_seg.data.sources import MemorySource
from apple_seg.host import HostSpec, InputSpec, Pipeline, fingerprint, wrap
from apple_seg.perturb import FitSettings, MethodSpec, fit
from cohorts import GROUPS, npy


def volumes(n, split):
    """Bright cubes in noise."""
    draw = np.random.default_rng(len(split))
    files, rows = {}, []
    for i in range(n):
        mask = np.zeros((18, 16, 14), np.uint8)
        mask[4:10, 5:11, 3:9] = 1
        name = f"{split}{i}"
        image = draw.normal(size=mask.shape).astype(np.float32) + 2 * mask
        files |= {f"{name}.npy": npy(image), f"{name}m.npy": npy(mask)}
        rows.append((f"{name}.npy", name, f"{name}m.npy", split, "AB"[i % 2]))
    columns = ["case", "cluster", "mask", "split", "group"]
    table = pd.DataFrame(rows, columns=columns).astype("string")
    return Cohort(table, MemorySource(files), {"cube": 1})


def test_volumes_are_fitted_at_every_site():
    host = UNet(3, 1, 1, (4, 8, 16), (2, 2))
    before = fingerprint(host)
    segmentor = wrap(host, torch.rand(1, 1, 16, 16, 16), sites="all")
    assert [shape.cells for shape in segmentor.shapes] == [(4, 4, 4), (4, 4, 4), (8, 8, 8)]
    spec = HostSpec(factory="monai.networks.nets:UNet", input=InputSpec(size=(16, 16, 16)))
    pipeline = Pipeline(segmentor, spec, ["cube"])
    result = fit(
        pipeline,
        train=volumes(8, "train"),
        validation=volumes(4, "val"),
        groups=GROUPS,
        method=MethodSpec(sites="all"),
        settings=FitSettings(epochs=4, batch_size=4, learning_rate=5e-3),
        progress=False,
    )
    assert result.losses[-1]["segmentation"] < result.losses[0]["segmentation"]
    assert result.selected.overall > result.candidates[0].overall
    (mask,) = pipeline([volumes(1, "val")[0]])
    assert mask.shape == (1, 18, 16, 14)
    assert fingerprint(host) == before
