r"""Train the host of an experiment file on its cohort: what a team would have deployed.

    python -m benchmarks.hosts.train benchmarks/experiments/ham10000-unet.toml --epochs 10
    python -m benchmarks.hosts.train benchmarks/ladder/hosts/unet.toml \
        --scenario under-represented --epochs 40

The weights of the epoch with the highest validation Dice are kept, rounded to half precision.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from apple_seg.config import read_experiment
from apple_seg.data import Cohort
from apple_seg.host import HostSpec, find_adapter, prepare, to_grid
from apple_seg.perturb import SegmentationLoss
from benchmarks.ladder.scenarios import SCENARIOS, host_cases, of_scenario, seen


def main() -> None:
    """Parse the command line, train, and write checkpoint and log."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--scenario", choices=list(SCENARIOS), help="of the ladder: whose cases train the host"
    )
    parser.add_argument("--cases", type=int, help="train on the first so many cases, shuffled")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    experiment = read_experiment(options.experiment, options.overrides)
    if options.scenario:
        experiment = of_scenario(experiment, options.scenario)
    checkpoint = experiment.host.checkpoint
    if checkpoint is None:
        parser.error("[host] checkpoint says where to write, and is missing")
    cohort = experiment.cohort.read()
    train = cohort.split(experiment.splits.fit)
    validation = cohort.split(experiment.splits.validation)
    if options.scenario:
        train = host_cases(train, options.scenario)
        validation = seen(validation, options.scenario)
    train, validation = shuffled(train, options.cases), shuffled(validation, 800)
    torch.manual_seed(options.seed)
    start = time.perf_counter()
    weights, log = train_host(experiment.host, train, validation, options)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, checkpoint)
    record = {
        "scenario": options.scenario,
        "cases": len(train),
        "epochs": options.epochs,
        "seed": options.seed,
        "learning_rate": options.learning_rate,
        "batch_size": options.batch_size,
        "seconds": round(time.perf_counter() - start),
        "validation_dice": log,
        "torch": torch.__version__,
    }
    checkpoint.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"{checkpoint}: validation Dice {max(log):.4f}")


def shuffled(cohort: Cohort, cases: int | None) -> Cohort:
    """Return so many cases of a cohort, drawn with seed 0; all where `cases` is None."""
    order = np.random.default_rng(0).permutation(cohort.table.index.to_numpy())
    return cohort.take(order[:cases])


def train_host(
    spec: HostSpec, train: Cohort, validation: Cohort, options: Any
) -> tuple[dict[str, Tensor], list[float]]:
    """Return the best epoch's weights in half precision, and validation Dice by epoch."""
    from dataclasses import replace

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    host = replace(spec, checkpoint=None).build(device)
    segment = spec.segment_function() or find_adapter(host).segment
    channels = spec.channel_of(list(train.classes))
    loss_of = SegmentationLoss(spec.output.activation, channels)
    steps = options.epochs * (len(train) // options.batch_size)
    optimizer = torch.optim.AdamW(host.parameters(), options.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, total_steps=steps
    )
    data, held = load(train, spec), load(validation, spec)
    best: dict[str, Tensor] = {}
    log: list[float] = []
    for epoch in range(options.epochs):
        host.train()
        order = torch.randperm(len(train))
        for rows in tqdm(list(batches(order, options.batch_size)), f"epoch {epoch + 1}"):
            images, masks, prompts = flip(*pick(data, rows, device))
            loss = loss_of(segment(host, images, **prompts), masks).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(host.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        log.append(dice(host.eval(), segment, held, channels, device))
        print(f"epoch {epoch + 1}: validation Dice {log[-1]:.4f}", flush=True)
        if log[-1] == max(log):
            best = {
                name: value.half().cpu() if value.is_floating_point() else value.cpu()
                for name, value in host.state_dict().items()
            }
            best = {name: value.clone() for name, value in best.items()}
    return best, log


def load(cohort: Cohort, spec: HostSpec) -> dict[str, Tensor]:
    """Read and preprocess all cases into memory, in half precision."""
    images, masks, prompts = [], [], []
    for case in tqdm(cohort, "reading", total=len(cohort)):
        inputs = prepare([case], spec)
        if case.mask is None:
            raise ValueError(f"{case.key} has no mask to be trained on")
        images.append(inputs.images.half())
        masks.append(to_grid(case.mask, inputs.frames[0], inputs.images.shape[2:]).bool()[None])
        prompts.append(inputs.prompts)
    named = {name: torch.cat([one[name] for one in prompts]) for name in prompts[0]}
    return {"images": torch.cat(images), "masks": torch.cat(masks), **named}


def batches(order: Tensor, size: int) -> Iterator[Tensor]:
    """Yield whole batches of rows."""
    return (order[i : i + size] for i in range(0, len(order) - size + 1, size))


def pick(
    data: dict[str, Tensor], rows: Tensor, device: torch.device
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return images, masks and prompts of some rows."""
    chosen = {name: value[rows].to(device).float() for name, value in data.items()}
    return chosen.pop("images"), chosen.pop("masks"), chosen


def flip(
    images: Tensor, masks: Tensor, prompts: dict[str, Tensor]
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Mirror a whole batch left-right and up-down, each with probability 1/2; boxes go along."""
    for axis in (-1, -2):
        if torch.rand(()) < 0.5:
            images, masks = images.flip(axis), masks.flip(axis)
            if "boxes" in prompts:
                prompts = {**prompts, "boxes": _flip_boxes(prompts["boxes"], axis, images)}
            if "points" in prompts:
                raise ValueError("points are not flipped here; train with boxes")
    return images, masks, prompts


def _flip_boxes(boxes: Tensor, axis: int, images: Tensor) -> Tensor:
    first = 0 if axis == -1 else 1
    flipped = boxes.clone()
    flipped[:, first] = images.shape[axis] - boxes[:, first + 2]
    flipped[:, first + 2] = images.shape[axis] - boxes[:, first]
    return flipped


@torch.no_grad()
def dice(
    host: Any, segment: Any, held: dict[str, Tensor], channels: list[int], device: Any
) -> float:
    """Return the mean Dice on the host's own grid, thresholded at 0; to pick an epoch by."""
    scores = []
    for rows in torch.arange(len(held["images"])).split(32):
        images, masks, prompts = pick(held, rows, device)
        predicted = (segment(host, images, **prompts)[:, channels] > 0).float()
        overlap = 2 * (predicted * masks).flatten(1).sum(1)
        scores.append(overlap / (predicted.flatten(1).sum(1) + masks.flatten(1).sum(1)))
    return float(torch.cat(scores).nanmean())


if __name__ == "__main__":
    main()
