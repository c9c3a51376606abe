"""What a step gets and how the host is run on it: from images, or from records."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from apple_seg.data import Case, Cohort, viewed
from apple_seg.errors import CaseError
from apple_seg.host import (
    Frame,
    Inputs,
    Pipeline,
    Segmentation,
    draw_prompts,
    frame_of,
    prepare,
    to_grid,
)
from apple_seg.perturb.sampling import Draw
from apple_seg.perturb.task import FitTask
from apple_seg.processes import Processes
from apple_seg.replay import (
    INSIDE,
    MASKS,
    PROMPTS,
    Opened,
    Order,
    Plan,
    Records,
    ReplayNote,
    Store,
    masks_of,
    open_replay,
    stacked,
)


class TrainBatch(NamedTuple):
    """What one step needs."""

    inputs: Inputs
    """With images that hold nothing, where there are records."""

    masks: Tensor
    """(N, K, *grid)"""

    groups: Tensor
    """(N, attributes) codes, -1 where unknown."""

    numbers: Tensor
    """(N, numbers), standardised; NaN where unknown."""

    records: Records


class Known(NamedTuple):
    """What is known of the train cases."""

    codes: NDArray[np.int64]
    """(N, attributes) groups, -1 where unknown."""

    numbers: NDArray[np.float32]
    """(N, numbers), standardised; NaN where unknown."""

    def of(self, draws: Sequence[Draw]) -> tuple[Tensor, Tensor]:
        """Return groups and numbers of the cases drawn."""
        places = [draw.place for draw in draws]
        return torch.from_numpy(self.codes[places]), torch.from_numpy(self.numbers[places])


class Feed(Protocol):
    """Where batches come from."""

    def fetch(self, draws: Sequence[Draw]) -> TrainBatch:
        """Return a batch, on the CPU."""

    def segment(self, batch: TrainBatch) -> Segmentation:
        """Run the wrapped host on it, with gradients."""

    def predict(self, cases: Sequence[Case]) -> Sequence[NDArray[np.bool_]]:
        """Segment validation cases to masks (K, *spatial)."""

    @property
    def validation(self) -> Cohort:
        """The cases that `predict` knows."""


@dataclass(frozen=True, eq=False)
class ImageFeed:
    """Reads images and runs the whole host."""

    pipeline: Pipeline
    train: Cohort
    validation: Cohort
    known: Known

    views: tuple[str, ...]
    prompts: int
    pool: ThreadPoolExecutor

    def fetch(self, draws: Sequence[Draw]) -> TrainBatch:
        """Read and preprocess cases, masks and groups."""
        drawn = list(self.pool.map(self._read, draws))
        inputs = stacked([one for one, _ in drawn])
        masks = torch.stack([mask for _, mask in drawn])
        return TrainBatch(inputs, masks, *self.known.of(draws), {})

    def segment(self, batch: TrainBatch) -> Segmentation:
        """Run the host."""
        inputs = self.pipeline.to_host(batch.inputs)
        found: Segmentation = self.pipeline.segmentor(inputs.images, **inputs.prompts)
        return found

    def predict(self, cases: Sequence[Case]) -> Sequence[NDArray[np.bool_]]:
        """Run the host as deployed."""
        return self.pipeline(cases)

    def _read(self, draw: Draw) -> tuple[Inputs, Tensor]:
        case = viewed(self.train[draw.place], self.views[draw.view])
        which = draw.view * self.prompts + draw.prompt
        inputs = prepare([case], self.pipeline.spec, draw=which)
        if case.mask is None:
            raise CaseError(f"{case.key} has no mask to fit on")
        return inputs, to_grid(case.mask, inputs.frames[0], inputs.images.shape[2:])


@dataclass(frozen=True, eq=False)
class RecordFeed:
    """Reads records and runs what comes after the frontier; no image is read again."""

    opened: Opened
    pipeline: Pipeline
    validation: Cohort
    """Without images."""

    known: Known
    places: Mapping[str, int]
    """Case to its record in the validation store."""

    room: dict[str, Tensor] = field(default_factory=dict)
    """What the last batch was read into, to be filled anew on a CPU: there a batch is done with
    when the next is asked for."""

    @classmethod
    def of(cls, opened: Opened, validation: Cohort, known: Known) -> "RecordFeed":
        """Feed from what was recorded."""
        pipeline = opened.plans["train"].pipeline
        places = {key: place for place, key in enumerate(validation.table["case"])}
        return cls(opened, pipeline, validation.without_images(), known, places)

    @property
    def _train(self) -> tuple[Plan, Store]:
        return self.opened.plans["train"], self.opened.stores["train"]

    def fetch(self, draws: Sequence[Draw]) -> TrainBatch:
        """Read records, masks, prompts and groups."""
        plan, store = self._train
        rows = [draw.place * len(plan.views) + draw.view for draw in draws]
        fits = {len(value) for value in self.room.values()} == {len(rows)}
        records = store.read(rows, into=self.room if fits else None)
        if not next(self.pipeline.segmentor.host.parameters()).is_cuda:
            self.room.update(records)
        which = torch.tensor([draw.prompt for draw in draws])
        order = torch.arange(len(draws))
        prompts = {
            name.removeprefix(PROMPTS): records.pop(name)[order, which]
            for name in list(records)
            if name.startswith(PROMPTS)
        }
        grid = self.opened.replay.grid
        masks = masks_of(records.pop(MASKS), (len(self.pipeline.classes), *grid))
        insides = [tuple(map(int, inside)) for inside in records.pop(INSIDE)]
        frames = tuple(Frame(inside, inside) for inside in insides)
        images = self.opened.replay.blank(len(draws))
        return TrainBatch(Inputs(images, prompts, frames), masks, *self.known.of(draws), records)

    def segment(self, batch: TrainBatch) -> Segmentation:
        """Play the records back."""
        return self.opened.replay.segment(self.pipeline.to_host(batch.inputs), batch.records)

    def predict(self, cases: Sequence[Case]) -> Sequence[NDArray[np.bool_]]:
        """Play the records of validation cases back."""
        spec, replay = self.pipeline.spec, self.opened.replay
        records = self.opened.stores["validation"].read([self.places[one.key] for one in cases])
        frames = tuple(frame_of(case.image.shape[1:], spec.input) for case in cases)
        prompts = draw_prompts(cases, frames, spec.prompt)
        inputs = self.pipeline.to_host(Inputs(replay.blank(len(cases)), prompts, frames))
        return self.pipeline.decide(replay.predict(inputs, records), inputs, cases)


def stream(
    feed: Feed, batches: Sequence[Sequence[Draw]], device: torch.device
) -> Iterator[TrainBatch]:
    """Yield the batches; where reading is work of its own, the next is read while one is used.

    Records are read in a few milliseconds: on a CPU a thread for that costs more than it saves.
    """
    if isinstance(feed, RecordFeed) and device.type == "cpu":
        yield from map(feed.fetch, batches)
        return
    with ThreadPoolExecutor(1) as reader:
        pending: list[Future[TrainBatch]] = []
        for draws in batches:
            pending.append(reader.submit(feed.fetch, draws))
            if len(pending) > 1:
                yield pending.pop(0).result()
        for future in pending:
            yield future.result()


@contextmanager
def open_feed(
    task: FitTask,
    perturbers: Sequence[nn.Module],
    processes: Processes,
    say: Callable[[str], None],
) -> Iterator[tuple[Feed, ReplayNote]]:
    """Yield where the batches of a fit come from: records where that is right and pays."""
    beside = None if task.folder is None else task.folder / "replay"
    order = Order(
        pipeline=task.pipeline,
        train=task.train,
        validation=task.validation,
        perturbers=perturbers,
        epochs=task.settings.epochs,
        settings=task.replay,
        views=task.settings.views,
        draws=task.settings.prompts,
        folder=task.replay.folder or beside,
        processes=processes,
        progress=task.progress,
        say=say,
    )
    table, attributes = task.train.table, task.attributes
    known = Known(attributes.codes(table), attributes.standardised(table))
    with open_replay(order) as opened, ThreadPoolExecutor(os.cpu_count()) as pool:
        note = opened.note if isinstance(opened, Opened) else opened
        say(f"replay is {'on' if note.used else 'off'}: {note.why}")
        if isinstance(opened, Opened):
            yield RecordFeed.of(opened, task.validation, known), note
        else:
            settings = task.settings
            views, prompts = settings.views, settings.prompts
            yield (
                ImageFeed(task.pipeline, task.train, task.validation, known, views, prompts, pool),
                note,
            )
