"""Which store the records of a fit go to: on disk or in memory, and whether they may."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from apple_seg.errors import ConfigError, ReplayError
from apple_seg.replay.order import Order
from apple_seg.replay.recording import Plan
from apple_seg.replay.store import DiskStore, MemoryStore, Store

_DISK = hasattr(os, "pwrite")
"""Whether this system can share a file among writers: all but Windows."""


def open_stores(
    order: Order, plans: Mapping[str, Plan], size: int, stack: ExitStack
) -> dict[str, Store]:
    """Open the store of each cohort, to be closed by the stack.

    Raises:
        ConfigError: There is no folder, or several processes are to share memory.
        ReplayError: The same, where the settings leave it open whether to replay.
    """
    settings, processes, folder = order.settings, order.processes, order.folder
    insist = settings.store != "auto"
    if settings.store == "memory" or (not insist and (folder is None or not _DISK)):
        if processes.count > 1:
            raise (ConfigError if insist else ReplayError)(
                "records in memory serve one process; with several, set [replay] store to "
                '"disk", and give the fit a folder'
            )
        _check_memory(size, insist=insist)
        made = {role: MemoryStore(plan.layout(), plan.records) for role, plan in plans.items()}
        for store in made.values():
            stack.callback(store.close)
        return {**made}
    if folder is None:
        raise ConfigError('[replay] store = "disk" needs a folder for results')
    return {role: _on_disk(order, plan, folder / role, stack) for role, plan in plans.items()}


def _on_disk(order: Order, plan: Plan, folder: Path, stack: ExitStack) -> Store:
    """Open a store; the main process first, which may have to clear it."""
    processes = order.processes

    def opened() -> Store:
        return DiskStore.open(
            folder,
            plan.layout(),
            plan.records,
            identity=plan.identity(),
            writer=processes.rank,
            progress=order.progress and processes.main,
            description=f"checking records of {folder.name}",
        )

    store = opened() if processes.main else None
    processes.wait()
    store = opened() if store is None else store
    stack.callback(store.close)
    processes.wait()  # nobody records before all have seen what is there
    return store


def _check_memory(size: int, *, insist: bool) -> None:
    import psutil

    free = psutil.virtual_memory().available
    if size > free / 2:
        error = ConfigError if insist else ReplayError
        raise error(
            f"the records would take {gigabytes(size)} of memory, of {gigabytes(free)} free; "
            'set [replay] precision to "half", or store to "disk" and give the fit a folder'
        )


def gigabytes(size: float) -> str:
    """Write a number of bytes in gigabytes, or in megabytes below a tenth of one."""
    return f"{size / 1e9:.2g} GB" if size >= 1e8 else f"{size / 1e6:.2g} MB"
