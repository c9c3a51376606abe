"""Stores of small records of known content, here and in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from apple_seg.replay import DiskStore, Layout, Stream

LAYOUT = Layout(
    (
        Stream("single", (3, 5), torch.float32),
        Stream("half", (7,), torch.float16),
        Stream("brain", (2, 2, 3), torch.bfloat16),
        Stream("mask", (5, 1), torch.uint8),
        Stream("place", (), torch.int64),
    )
)
SITES = {"sites": ["neck"], "host": "0123"}
HERE = Path(__file__).parent


def content(records):
    """Return what these records hold: every stream drawn by record, so that none looks alike."""
    streams = {stream.name: [] for stream in LAYOUT.streams}
    for record in records:
        draws = torch.Generator().manual_seed(record)
        for stream in LAYOUT.streams:
            drawn = torch.rand(stream.shape, generator=draws) * 200
            streams[stream.name].append(drawn.to(stream.dtype))
    return {name: torch.stack(tensors) for name, tensors in streams.items()}


def same(found, expected):
    assert list(found) == [stream.name for stream in LAYOUT.streams]
    return all(
        found[name].dtype == tensor.dtype
        and found[name].is_contiguous()
        and torch.equal(found[name], tensor)
        for name, tensor in expected.items()
    )


def opened(folder, records=10, *, identity=SITES, **settings):
    return DiskStore.open(folder, LAYOUT, records, identity=identity, progress=False, **settings)


def filled(folder, records=10, **settings):
    """Record everything in a new store and close it."""
    store = opened(folder, records, **settings)
    store.write(range(records), content(range(records)))
    store.close()


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


PRELUDE = """
import os, resource, signal, sys, time
from pathlib import Path
import torch
from apple_seg.errors import StoreError
from apple_seg.replay import DiskStore, Layout, MemoryStore, Stream
from stores import content, opened, same
folder = Path(sys.argv[1])
"""


def start(body, *arguments):
    """Run `body` in a process of its own, with the names of the prelude; `folder` comes first."""
    command = [sys.executable, "-c", PRELUDE + body, *map(str, arguments)]
    paths = os.pathsep.join(map(str, (HERE, HERE.parent)))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(*processes):
    told = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(told), told
    return [out for out, _ in told]
