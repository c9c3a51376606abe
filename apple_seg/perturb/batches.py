"""Cases to the batches of a fit."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from apple_seg.data import Case
from apple_seg.host import HostSpec, Inputs, prepare, to_grid


class TrainBatch(NamedTuple):
    """What one step needs."""

    inputs: Inputs
    masks: Tensor
    """(N, K, *grid)"""
    groups: Tensor
    """(N,) codes, -1 where unknown."""


class Collate:
    """Cases to a batch, in the loader's own process."""

    def __init__(self, spec: HostSpec, codes: Mapping[str, int]) -> None:
        self.spec = spec
        self.codes = codes

    def __call__(self, cases: Sequence[Case]) -> TrainBatch:
        """Preprocess cases, masks and groups."""
        inputs = prepare(cases, self.spec)
        grid = inputs.images.shape[2:]
        masks = [
            to_grid(case.mask, frame, grid)
            for case, frame in zip(cases, inputs.frames, strict=True)
            if case.mask is not None
        ]
        groups = torch.tensor([self.codes[case.key] for case in cases])
        return TrainBatch(inputs, torch.stack(masks), groups)


def covered(inputs: Inputs) -> tuple[slice, ...]:
    """Return the part of the grid that some image covers; what is padding in all is left out."""
    sizes = np.max([frame.inside for frame in inputs.frames], axis=0)
    return (slice(None), slice(None), *(slice(0, int(size)) for size in sizes))
