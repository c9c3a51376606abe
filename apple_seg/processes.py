"""The processes that share the work: one, or as many as `accelerate launch` or torchrun started."""

import atexit
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

from apple_seg.errors import ConfigError, MissingExtraError, ProcessError

T = TypeVar("T")

PATIENCE = timedelta(days=7)
"""How long processes wait for each other: a share may take hours, and it is the launcher that ends
the others when one fails."""


@dataclass(frozen=True)
class Processes:
    """Which of the processes this is; what they share is handed on explicitly."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"
    """Where this process works."""

    @property
    def main(self) -> bool:
        """Whether this is the one that writes files, prints and shows bars."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Return the `value` of each process, by rank, in all of them; each has to call this.

        Raises:
            ProcessError: Another one has ended, and its value will not come.
        """
        if self.count == 1:
            return [value]
        from torch import distributed

        values: list[Any] = [None] * self.count
        try:
            distributed.all_gather_object(values, value)
        except (RuntimeError, ValueError) as error:
            raise ProcessError(
                f"process {self.rank} of {self.count} waits in vain for the others, of which one "
                f"has ended; see what it said ({error})"
            ) from error
        return values

    def wait(self) -> None:
        """Return when every process has come here."""
        self.gather(None)

    def from_main(self, make: Callable[[], T]) -> T:
        """Return in all processes what `make` returns in the main one; the others wait for it."""
        return cast(T, self.gather(make() if self.main else None)[0])


ONE = Processes()


def launched(device: str) -> Processes:
    """Return the processes that this one was started with, ready to talk, or this one alone.

    Args:
        device: Of all, as torch names it. Of several processes on `cuda` each gets its own GPU.

    Raises:
        ConfigError: Several processes cannot share `device`, or do not know of each other.
        MissingExtraError: There are several, and accelerate is not installed.
    """
    if started() == 1:
        _warn_if_alone()
        return Processes(device=device)
    _check(device)
    try:
        from accelerate import PartialState
    except ModuleNotFoundError as missing:
        raise MissingExtraError(
            f"several processes need {missing.name}: pip install 'apple-seg[workbench]', or start "
            "one process"
        ) from missing
    state = PartialState(cpu=device == "cpu", timeout=PATIENCE)
    atexit.register(_leave)
    own = device if device == "cpu" else f"{device}:{state.local_process_index}"
    return Processes(state.process_index, state.num_processes, own)


def started() -> int:
    """Return how many processes the launcher started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """Say whether this process is alone or the first, without waiting for the others."""
    return started() == 1 or os.environ.get("RANK") == "0"


def first_to_fail() -> bool:
    """Say whether no other process of this run has asked this: one report of an error is enough."""
    if started() == 1:
        return True
    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=5))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return bool(store.add(f"apple_seg/errors/{attempt}", 1) == 1)
    except (KeyError, ValueError, RuntimeError):
        return True  # the launcher is not there to be asked: an error said twice is not lost


def _check(device: str) -> None:
    """Raise unless the processes that were started can work on `device`."""
    count = started()
    needed = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in needed if name not in os.environ]:
        raise ConfigError(
            f"WORLD_SIZE is {count}, but {', '.join(missing)} is not set: start the processes with "
            "`accelerate launch` or torchrun, or unset WORLD_SIZE to work in one"
        )
    if device not in ("cpu", "cuda"):
        raise ConfigError(
            f"{count} processes cannot share the device {device!r}: set device to 'cuda', which "
            "gives each process a GPU of its own, or to 'cpu', or start one process"
        )
    if device == "cpu":
        return
    from torch import cuda

    here = int(os.environ.get("LOCAL_WORLD_SIZE", count))
    if cuda.device_count() < here:
        raise ConfigError(
            f"{here} processes were started on this machine, which has {cuda.device_count()} GPUs: "
            "start as many as there are GPUs (--num_processes), or set device to 'cpu'"
        )


def _leave() -> None:
    """End what talks to the other processes, whose threads would else abort Python's own end."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _warn_if_alone() -> None:
    """Warn where accelerate was asked for several processes, and started one without a word.

    On a machine without several GPUs it does so unless it is told `--multi_gpu`; what is left of
    the wish is the port at which the processes were to meet.
    """
    if {"ACCELERATE_MIXED_PRECISION", "MASTER_PORT"} <= {*os.environ} and not os.environ.get(
        "WORLD_SIZE"
    ):
        warnings.warn(
            "`accelerate launch` was asked for several processes and started this one only, as it "
            "does where it sees no two GPUs. To share the work on processors, give it --multi_gpu "
            "instead of --cpu (device stays 'cpu'), or use `torchrun --nproc_per_node`.",
            stacklevel=3,
        )
