"""From a cohort to a store of records: each case goes through the frozen encoder once."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from apple_seg.data import Case, Cohort, viewed
from apple_seg.errors import CaseError, ReplayError
from apple_seg.host import Inputs, Pipeline, draw_prompts, fingerprint, prepare, to_grid
from apple_seg.replay.playback import Replay
from apple_seg.replay.store import Layout, Store, Stream

MASKS, INSIDE, PROMPTS = "masks", "inside", "prompts/"
_PIXELS = 2**20
_BATCH = 16


@dataclass(frozen=True, eq=False)
class Plan:
    """What is recorded of the cases of one cohort."""

    replay: Replay
    pipeline: Pipeline
    cohort: Cohort

    precision: str = "host"
    """"host", or "half": latents are stored in 16 bits."""

    views: tuple[str, ...] = ("as-is",)
    """A record a case and view, the views of a case side by side."""

    draws: int = 0
    """How many prompts are stored beside each record, with its masks; 0 stores neither."""

    @property
    def tolerance(self) -> str:
        """The precision by which replayed passes are judged."""
        return "half" if self.precision == "half" else self.replay.precision

    @property
    def records(self) -> int:
        """How many records there are."""
        return len(self.cohort) * len(self.views)

    def layout(self) -> Layout:
        """Return what one record holds."""
        half = self.precision == "half"
        streams = [
            Stream(
                leaf.name, leaf.shape, torch.float16 if half and _wide(leaf.dtype) else leaf.dtype
            )
            for leaf in self.replay.leaves
        ]
        return Layout((*streams, *(self._targets() if self.draws else ())))

    def _targets(self) -> list[Stream]:
        example = self.sample(0)
        return [
            Stream(name, tuple(value.shape), value.dtype) for name, value in example.targets.items()
        ]

    def identity(self) -> dict[str, Any]:
        """Return all that the records depend on, as plain values."""
        spec = self.pipeline.spec
        return {
            "host": fingerprint(self.pipeline.segmentor.host),
            "cases": self.cohort.stamp(spec.prompt.columns),
            "sites": [f"{site}, clean: {site.clean}" for site in self.pipeline.segmentor.sites],
            "calls": [str(output.call) for output in self.replay.outputs],
            "preprocessing": spec.identity(),
            "classes": list(self.pipeline.classes),
            "precision": self.precision,
            "views": list(self.views),
            "draws": self.draws,
            "versions": [version("apple-seg"), torch.__version__],
        }

    def sample(self, record: int) -> "Sample":
        """Read and preprocess one case in one view; safe in threads."""
        place, view = divmod(record, len(self.views))
        case = viewed(self.cohort[place], self.views[view])
        spec = self.pipeline.spec
        inputs = prepare([case], spec)
        if not self.draws:
            return Sample(inputs, {})
        (frame,) = inputs.frames
        # Each view has prompts of its own.
        prompts = [
            draw_prompts([case], [frame], spec.prompt, draw=view * self.draws + draw)
            for draw in range(self.draws)
        ]
        targets = {
            MASKS: _packed(case, inputs),
            INSIDE: torch.tensor(frame.inside),
            **{
                PROMPTS + name: torch.cat([drawn[name] for drawn in prompts]) for name in prompts[0]
            },
        }
        return Sample(inputs, targets)

    def record(self, samples: Sequence["Sample"]) -> dict[str, Tensor]:
        """Run the encoder on a batch and return its records, as they are stored.

        Raises:
            ReplayError: A value does not fit into half precision, or the host went another way.
        """
        grids = {tuple(sample.inputs.images.shape[1:]) for sample in samples}
        if foreign := grids - {(self.replay.channels, *self.replay.grid)}:
            raise ReplayError(
                f"images of {foreign.pop()} among those of "
                f"{(self.replay.channels, *self.replay.grid)}; set [host.input] size"
            )
        inputs = self.pipeline.to_host(stacked([sample.inputs for sample in samples]))
        records = self.replay.capture(inputs)
        for name, value in records.items():
            if self.precision == "half" and _wide(value.dtype):
                records[name] = value.half()
                if not torch.isfinite(records[name]).all():
                    raise ReplayError(f"{name} is too large for half precision")
        targets = [sample.targets for sample in samples]
        return records | {name: torch.stack([one[name] for one in targets]) for name in targets[0]}


class Sample(NamedTuple):
    """One case, ready to be recorded."""

    inputs: Inputs
    """A batch of one."""

    targets: Mapping[str, Tensor]
    """Masks and prompts, where they are stored."""


def fill(plan: Plan, store: Store, due: Sequence[int], *, progress: bool, description: str) -> None:
    """Record what is due into the store.

    Raises:
        StoreError: The store cannot be written.
        ReplayError: See `Plan.record`.
    """
    size = max(1, min(_BATCH, _PIXELS // prod(plan.replay.grid)))
    batches = [due[start : start + size] for start in range(0, len(due), size)]
    quiet = None if progress else True
    bar = tqdm(total=len(due), desc=description, unit="case", disable=quiet, leave=False)
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch, samples in zip(batches, _ahead(pool, plan, batches), strict=True):
            store.write(batch, plan.record(samples))
            bar.update(len(batch))


def masks_of(packed: Tensor, shape: Sequence[int]) -> Tensor:
    """Unpack masks (N, bytes) to (N, *shape) of 0 and 1 in float32; `shape` is (K, *grid)."""
    bits = np.unpackbits(packed.numpy(), axis=1, count=prod(shape))
    return torch.from_numpy(bits).reshape(len(packed), *shape).float()


def _ahead(
    pool: ThreadPoolExecutor, plan: Plan, batches: Sequence[Sequence[int]]
) -> Iterator[list[Sample]]:
    """Yield the samples of each batch, while those of the next are being read."""
    pending: list[list[Future[Sample]]] = []
    for batch in [*batches, []]:
        pending.append([pool.submit(plan.sample, record) for record in batch])
        if len(pending) > 1:
            yield [future.result() for future in pending.pop(0)]


def stacked(inputs: Sequence[Inputs]) -> Inputs:
    """Join batches to one.

    Raises:
        CaseError: Their images differ in shape.
    """
    shapes = {tuple(one.images.shape[1:]) for one in inputs}
    if len(shapes) > 1:
        raise CaseError(
            f"images of differing shapes {sorted(shapes)} cannot share a batch; "
            "set [host.input] size"
        )
    prompts = {name: torch.cat([one.prompts[name] for one in inputs]) for name in inputs[0].prompts}
    frames = tuple(frame for one in inputs for frame in one.frames)
    return Inputs(torch.cat([one.images for one in inputs]), prompts, frames)


def _packed(case: Case, inputs: Inputs) -> Tensor:
    """Return a case's masks on the host's grid, eight voxels a byte."""
    if case.mask is None:
        raise ReplayError(f"{case.key} has no mask to be recorded")
    mask = to_grid(case.mask, inputs.frames[0], inputs.images.shape[2:])
    return torch.from_numpy(np.packbits(mask.numpy().astype(bool)))


def _wide(dtype: torch.dtype) -> bool:
    return dtype in (torch.float32, torch.float64)
