"""A small planted cohort on disk, a host with random weights, and an experiment file."""

import torch

from apple_seg.data.synthetic import Dermoscopy, write
from apple_seg.host import HostSpec

EXPERIMENT = """
[host]
factory = "monai.networks.nets:UNet"
checkpoint = "host.pt"
[host.arguments]
spatial_dims = 2
in_channels = 3
out_channels = 1
channels = [4, 8, 16]
strides = [2, 2]
[host.input]
size = [32, 32]
divide = 255.0
[cohort]
root = "cohort.zip"
classes = { lesion = 255 }
[groups]
by = { group = ["A", "B"] }
reference = "group = A"
[fit]
epochs = 1
batch_size = 8
learning_rate = 0.01
[audit]
resamples = 100
gallery = 1
"""


def write_experiment(folder):
    """Write all of it to `folder`, and return the path of the experiment file."""
    splits = {"train": (8, 8), "val": (6, 6), "test": (10, 10)}
    write(Dermoscopy(size=32, splits=splits, seed=1), folder / "cohort.zip")
    path = folder / "small.toml"
    path.write_text(EXPERIMENT)
    torch.manual_seed(0)
    arguments = {
        **{"spatial_dims": 2, "in_channels": 3, "out_channels": 1},
        **{"channels": (4, 8, 16), "strides": (2, 2)},
    }
    host = HostSpec(factory="monai.networks.nets:UNet", arguments=arguments).build()
    torch.save({"state_dict": host.state_dict()}, folder / "host.pt")
    return path
