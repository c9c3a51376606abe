"""What a record holds: streams of fixed shape and dtype, each at its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apple_seg.errors import StoreError

_ALIGNMENT = 64  # bytes


@dataclass(frozen=True)
class Stream:
    """One tensor of every record."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of this tensor in one record."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Layout:
    """What every record holds.

    Raises:
        ValueError: There is no stream, one without a byte, or two of one name.
    """

    streams: tuple[Stream, ...]

    def __post_init__(self) -> None:
        if not self.streams:
            raise ValueError("a layout needs at least one stream, got none")
        names = [stream.name for stream in self.streams]
        if len(set(names)) < len(names):
            raise ValueError(f"every stream needs a name of its own, got {', '.join(names)}")
        for stream in self.streams:
            if stream.nbytes == 0:
                raise ValueError(f"stream {stream.name!r} of shape {stream.shape} holds no byte")

    @cached_property
    def offsets(self) -> Mapping[str, int]:
        """Where each stream starts in a record, in bytes: at multiples of 64."""
        sizes = [_padded(stream.nbytes) for stream in self.streams]
        return {s.name: sum(sizes[:place]) for place, s in enumerate(self.streams)}

    @property
    def record_bytes(self) -> int:
        """Bytes from one record to the next, a multiple of 64."""
        return sum(_padded(stream.nbytes) for stream in self.streams)

    def empty(self, records: int) -> dict[str, Tensor]:
        """Return room for n records: every stream as (n, *shape), on the CPU."""
        return {s.name: torch.empty((records, *s.shape), dtype=s.dtype) for s in self.streams}


def _padded(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


def as_rows(tensor: Tensor) -> NDArray[np.uint8]:
    """Return (n, ...) as (n, bytes): the same memory if it is contiguous and on the CPU."""
    width = prod(tensor.shape[1:]) * tensor.dtype.itemsize
    flat = tensor.detach().cpu().contiguous().flatten()
    # numpy knows no bfloat16.
    rows: NDArray[np.uint8] = flat.view(torch.uint8).view(-1, width).numpy()
    return rows


def check_records(records: int) -> None:
    """Raise a ValueError for a store of no records."""
    if records < 1:
        raise ValueError(f"a store needs at least one record, got {records}")


def missing(there: NDArray[np.bool_]) -> list[int]:
    """Return the records that are not there, ascending."""
    return [int(record) for record in np.flatnonzero(~there)]


def check_there(there: NDArray[np.bool_], indices: Sequence[int]) -> None:
    """Check that these records can be read.

    Raises:
        IndexError: One is out of range.
        StoreError: One is not there.
    """
    _check_range(len(there), indices)
    absent = [index for index in indices if not there[index]]
    if absent:
        raise StoreError(
            f"record {absent[0]} is not there, {int(there.sum())} of {len(there)} are: write first "
            "what missing() lists"
        )


def _check_range(records: int, indices: Sequence[int]) -> None:
    outside = [index for index in indices if not 0 <= index < records]
    if outside:
        raise IndexError(f"record {outside[0]} is out of range: the store holds {records}, from 0")


def check_write(
    layout: Layout, records: int, indices: Sequence[int], streams: Mapping[str, Tensor]
) -> None:
    """Check what is to be written against the layout.

    Raises:
        IndexError: A record is out of range.
        ValueError: The names, dtypes or shapes are not the layout's, or a record comes twice.
    """
    _check_range(records, indices)
    if len(set(indices)) < len(indices):
        raise ValueError(f"every record can be written once a call, got {list(indices)}")
    expected = [stream.name for stream in layout.streams]
    if set(streams) != set(expected):
        raise ValueError(
            f"streams must be {', '.join(expected)}; got {', '.join(streams) or 'none'}"
        )
    for stream in layout.streams:
        given, shape = streams[stream.name], (len(indices), *stream.shape)
        if given.dtype != stream.dtype or tuple(given.shape) != shape:
            raise ValueError(
                f"stream {stream.name!r} must be {stream.dtype} of shape {shape}, "
                f"got {given.dtype} of shape {tuple(given.shape)}"
            )
