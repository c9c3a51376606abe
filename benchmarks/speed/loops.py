"""What a fit is compared with: the loops that a user would write, and the least that can be done.

All of them train on the same cases with the same loss and optimiser. The loops are written as
people write them: in torch's default layout, reading as they go.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from apple_seg.data import Cohort
from apple_seg.host import Inputs, Pipeline, channels_last, prepare, to_grid
from apple_seg.perturb import (
    Adversary,
    Outcome,
    SegmentationLoss,
    build_perturber,
)
from apple_seg.replay import Replay

Batch = tuple[Inputs, Tensor, Tensor]


def seconds(run: Callable[[], Any]) -> float:
    """Return the wall clock of a call, the device's work included."""
    _finish()
    start = time.perf_counter()
    run()
    _finish()
    return time.perf_counter() - start


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def batches(pipeline: Pipeline, cohort: Cohort, size: int) -> Iterator[Batch]:
    """Read and preprocess a cohort, batch by batch."""
    for start in range(0, len(cohort) - size + 1, size):
        cases = [cohort[place] for place in range(start, start + size)]
        inputs = prepare(cases, pipeline.spec)
        grid = inputs.images.shape[2:]
        masks = [
            to_grid(case.mask, frame, grid)
            for case, frame in zip(cases, inputs.frames, strict=True)
            if case.mask is not None
        ]
        groups = torch.tensor([case.row["group"] == "B" for case in cases]).long()
        yield pipeline.to_host(inputs), torch.stack(masks), groups


def new_perturbers(pipeline: Pipeline, name: str) -> list[nn.Module]:
    """Return perturbers of this name for each site, on the host's device."""
    device = next(pipeline.segmentor.host.parameters()).device
    return [
        build_perturber({"name": name, "channels": one.channels, "cells": one.cells}).to(device)
        for one in pipeline.segmentor.shapes
    ]


class PlainLoop:
    """The recipe of FAAP and of APPLE as it is written down: the encoder runs for each batch.

    The host is frozen, so that torch keeps nothing of its encoder: this is the encoder under
    `no_grad`, already better than the loops in public, which keep its activations.
    """

    def __init__(self, pipeline: Pipeline, perturber: str) -> None:
        self.pipeline = pipeline
        self.segmentor = pipeline.segmentor
        self.perturbers = new_perturbers(pipeline, perturber)
        device = next(self.segmentor.host.parameters()).device
        channels = [one.channels for one in self.segmentor.shapes]
        self.adversary = Adversary(channels, [2])
        self.adversary.to(device)
        self.loss = SegmentationLoss("sigmoid", [0])
        parameters = [value for one in self.perturbers for value in one.parameters()]
        self.optimizer = torch.optim.Adam(parameters, 1e-3)

    def epoch(self, cohort: Cohort, size: int) -> None:
        """Train on every case once."""
        self.segmentor.install(self.perturbers)
        for inputs, masks, groups in batches(self.pipeline, cohort, size):
            raw, latents = self.segmentor(inputs.images, **inputs.prompts)
            logits = self.pipeline.logits(raw, inputs.images.shape[2:])
            codes = groups.to(raw.device)[:, None]
            outcome = Outcome(logits, masks.to(raw.device), latents, codes, (2,))
            self.adversary.observe(outcome)
            loss = self.loss(logits, outcome.masks).mean()
            self.optimizer.zero_grad()
            (loss + 0.1 * self.adversary(outcome)).backward()
            self.optimizer.step()


class FineTuning:
    """FairSeg's recipe: every weight of the host is trained, without perturbers."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.host = pipeline.segmentor.host
        self.loss = SegmentationLoss("sigmoid", [0])
        self.optimizer = torch.optim.Adam(self.host.parameters(), 1e-6)

    def epoch(self, cohort: Cohort, size: int) -> None:
        """Train on every case once."""
        self.host.requires_grad_(True).train()
        try:
            with self.pipeline.segmentor.disabled():
                for inputs, masks, _ in batches(self.pipeline, cohort, size):
                    raw = self.pipeline.segmentor.segment(
                        self.host, inputs.images, **inputs.prompts
                    )
                    logits = self.pipeline.logits(raw, inputs.images.shape[2:])
                    self.optimizer.zero_grad()
                    self.loss(logits, masks.to(raw.device)).mean().backward()
                    self.optimizer.step()
        finally:
            self.host.requires_grad_(False).eval()


class DecoderOnly:
    """The limit: all that comes after the frontier, forward and backward, and nothing else.

    One batch of records lies in memory and is used again and again: nothing is read, no
    discriminator learns, no weight is updated.
    """

    def __init__(self, pipeline: Pipeline, perturber: str | None, batch: Batch) -> None:
        self.pipeline = pipeline
        self.segmentor = pipeline.segmentor
        made = new_perturbers(pipeline, perturber) if perturber else self._bare()
        self.perturbers = made
        inputs, self.masks, _ = batch
        self.masks = self.masks.to(inputs.images.device)
        self.segmentor.install(made)
        first = Inputs(
            inputs.images[:2], {k: v[:2] for k, v in inputs.prompts.items()}, inputs.frames[:2]
        )
        with channels_last(self.segmentor.host):
            self.replay = Replay.of(self.segmentor, first)
            self.records = self.replay.capture(inputs)
        self.inputs = inputs
        self.loss = SegmentationLoss("sigmoid", [0])

    def _bare(self) -> Sequence[nn.Module]:
        return [
            _Bare(one.channels).to(next(self.segmentor.host.parameters()).device)
            for one in self.segmentor.shapes
        ]

    def steps(self, repeats: int) -> list[float]:
        """Return the seconds of so many passes, forward and backward, after one to warm up."""
        with channels_last(self.segmentor.host):
            return [seconds(self.step) for _ in range(repeats + 1)][1:]

    def step(self) -> None:
        """Pass forward and backward once."""
        self.segmentor.install(self.perturbers)
        raw, _ = self.replay.segment(self.inputs, self.records)
        logits = self.pipeline.logits(raw, self.inputs.images.shape[2:])
        self.loss(logits, self.masks).mean().backward()
        for one in self.perturbers:
            one.zero_grad()


class _Bare(nn.Module):
    """As little as a gradient can be asked of: a number a channel is added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, latent: Tensor) -> Tensor:
        return latent + self.shift.view(-1, *[1] * (latent.ndim - 2))
