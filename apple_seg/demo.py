"""The demo: a planted gap, a host that has it, a perturber, and what the audit says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import trange

from apple_seg.config import read_experiment
from apple_seg.data import Case, Cohort
from apple_seg.data.synthetic import SPLITS, Dermoscopy, write
from apple_seg.host import HostSpec, prepare, to_grid
from apple_seg.perturb import SegmentationLoss
from apple_seg.workflow import Written, compare_experiment, fit_experiment

_SPLITS = {**SPLITS, "test": (400, 400)}
"""More test cases than usual, so that a change of 0.01 Dice can be told."""

_EXPERIMENT = """\
# apple-seg compare {name}/demo.toml
#
# Drawn lesions on drawn skin. Group B has darker skin, weaker contrast and more hair, and
# was rare where the host was trained.
output = "."

[host]
factory = "monai.networks.nets:UNet"
checkpoint = "host.pt"

[host.arguments]
spatial_dims = 2
in_channels = 3
out_channels = 1
channels = [8, 16, 32, 64]
strides = [2, 2, 2]
num_res_units = 1
norm = "batch"

[host.input]
size = [64, 64]
channels = "rgb"
divide = 255.0
mean = [0.5]
std = [0.25]

[cohort]
root = "cohort.zip"
classes = {{ lesion = {value} }}
cluster = "patient_id"

[groups]
by = {{ group = ["A", "B"] }}
reference = "group = A"

[fit]
epochs = 6
views = ["as-is", "flip-h", "flip-w", "flip-hw"]
seed = {seed}
"""


def run_demo(folder: Path, *, seed: int, say: Callable[[str], Any]) -> Written:
    """Write cohort, host and experiment file to `folder`, then fit and compare.

    Returns:
        The comparison, and all files, the report and the perturber last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    say(f"[bold]1/4[/] draw a cohort: {folder / 'cohort.zip'}")
    manifest = write(Dermoscopy(size=64, splits=_SPLITS, seed=seed), folder / "cohort.zip")
    path = folder / "demo.toml"
    value = next(iter(manifest.classes.values()))
    path.write_text(_EXPERIMENT.format(name=folder.name, value=value, seed=seed))
    experiment = read_experiment(path)
    cohort = experiment.cohort.read()
    say("[bold]2/4[/] train a host on cases that are nearly all of group A")
    weights = train_host(experiment.host, cohort.split("host"), seed=seed)
    torch.save(weights, folder / "host.pt")
    say("[bold]3/4[/] fit perturbers for the frozen host")
    fitted = fit_experiment(experiment)
    say("[bold]4/4[/] compare on test cases that nothing has seen")
    compared = compare_experiment(experiment)
    *written, perturber = compared.files
    report = next(file for file in written if file.suffix == ".html")
    others = [file for file in written if file != report]
    return Written(compared.result, (path, *fitted.files[1:], *others, report, perturber))


def train_host(
    spec: HostSpec, cohort: Cohort, *, seed: int, epochs: int = 12, batch_size: int = 16
) -> dict[str, torch.Tensor]:
    """Train the host of a spec from scratch, and return its weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        host = HostSpec(factory=spec.factory, arguments=spec.arguments).build().train()
    channels = spec.channel_of(list(cohort.classes))
    loss_of = SegmentationLoss(spec.output.activation, channels)
    images, masks = _load(list(cohort), spec)
    optimizer = torch.optim.AdamW(host.parameters(), 3e-3)
    steps = epochs * (len(images) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    draw = np.random.default_rng(seed)
    for _ in trange(epochs, desc="training the host", leave=False, disable=None):
        order = draw.permutation(len(images))
        for rows in order[: len(order) // batch_size * batch_size].reshape(-1, batch_size):
            loss = loss_of(host(images[rows]), masks[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return dict(host.state_dict())


def _load(cases: list[Case], spec: HostSpec) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = prepare(cases, spec)
    grid = inputs.images.shape[2:]
    masks = [
        to_grid(case.mask, frame, grid)
        for case, frame in zip(cases, inputs.frames, strict=True)
        if case.mask is not None
    ]
    return inputs.images, torch.stack(masks)
