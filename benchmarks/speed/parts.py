"""Where the time of a replayed step goes: each part timed by itself, on one batch."""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from apple_seg.host import channels_last
from apple_seg.perturb import Adversary, Outcome
from apple_seg.perturb.feeds import Known, RecordFeed
from apple_seg.perturb.sampling import Draw
from apple_seg.replay import Opened, Order, ReplaySettings, open_replay
from benchmarks.speed.loops import DecoderOnly, batches, new_perturbers, seconds
from benchmarks.speed.subjects import GROUPS, Subject, cohort


def parts_of_a_step(
    subject: Subject, sites: str, perturber: str, *, repeats: int
) -> dict[str, Any]:
    """Return the median seconds of each part of a step, by name.

    `reading` is from a store on disk that the page cache holds; `decoder` is all after the
    frontier, forward and backward, with perturbers that do next to nothing; `perturber` is the
    perturbers alone, forward and backward, on latents of the true shapes.
    """
    pipeline = subject.pipeline(sites)
    size = subject.batch_size
    train = cohort(2 * size, subject.size)
    made = new_perturbers(pipeline, perturber)
    timed: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, channels_last(pipeline.segmentor.host):
        order = Order(
            pipeline=pipeline,
            train=train,
            validation=cohort(2, subject.size, "val"),
            perturbers=made,
            epochs=2,
            settings=ReplaySettings(store="disk"),
            folder=Path(folder),
            progress=False,
            say=lambda _text: None,
        )
        known = Known(
            GROUPS.codes(train.table)[:, None], np.zeros((len(train), 0), dtype=np.float32)
        )
        with open_replay(order) as opened:
            assert isinstance(opened, Opened)
            feed = RecordFeed.of(opened, order.validation, known)
            bare = DecoderOnly(pipeline, None, next(batches(pipeline, train, size)))
            work = {"decoder": bare.step, **_work(pipeline, made, feed, size)}
            for _ in range(repeats + 1):
                for name, run in work.items():
                    timed.setdefault(name, []).append(seconds(run))
    return {f"{name}_s": statistics.median(values[1:]) for name, values in timed.items()}


def _work(pipeline: Any, made: Any, feed: RecordFeed, size: int) -> dict[str, Callable[[], Any]]:
    segmentor = pipeline.segmentor
    latents = [torch.randn(size, one.channels, *one.cells) for one in segmentor.shapes]
    channels = [one.channels for one in segmentor.shapes]
    adversary = Adversary(channels, [2])
    draws = [Draw(place) for place in range(size)]
    groups = torch.arange(size) % 2
    optimizer = torch.optim.Adam([value for one in made for value in one.parameters()])

    def perturb() -> None:
        total = sum(one(latent).sum() for one, latent in zip(made, latents, strict=True))
        total.backward()

    def discriminate() -> None:
        tracked = tuple(latent.clone().requires_grad_() for latent in latents)
        outcome = Outcome(torch.empty(0), torch.empty(0), tracked, groups[:, None], (2,))
        adversary.observe(outcome)
        adversary(outcome).backward()

    return {
        "perturber": perturb,
        "discriminator": discriminate,
        "optimizer": optimizer.step,
        "reading": lambda: feed.fetch(draws),
    }
