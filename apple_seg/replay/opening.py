"""Decide whether to replay, record what is missing, and prove that it is right."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, cast

import torch
from torch import nn

from apple_seg.data import Cohort
from apple_seg.errors import AppleSegError, ConfigError, ReplayError, StoreError
from apple_seg.host import Pipeline
from apple_seg.processes import ONE, Processes
from apple_seg.replay.check import Deviation, deviation, pays, worth
from apple_seg.replay.playback import Replay
from apple_seg.replay.recording import Plan, fill, stacked
from apple_seg.replay.store import DiskStore, MemoryStore, Store

T = TypeVar("T")

_DISK = hasattr(os, "pwrite")
"""Whether this system can share a file among writers: all but Windows."""


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """The `[replay]` table: whether and how the frozen encoder's work is kept."""

    __pydantic_config__ = {"extra": "forbid"}  # where the experiment file is read

    store: Literal["auto", "disk", "memory", "off"] = "auto"
    """Where the records lie. "auto": on disk where there is a folder for results, else in memory;
    and off, with the reason, where replay does not pay or is not right. With "disk" and "memory"
    it is an error where it is not right."""

    precision: Literal["host", "half"] = "host"
    """Store latents as the host computes them, or in 16 bits: half the space, and a deviation
    that is measured and said."""

    folder: Path | None = None
    """Where the records lie, a fast disk say; `replay` among the results of the fit by default."""


@dataclass(frozen=True)
class ReplayNote:
    """What came of it."""

    used: bool
    why: str
    """In words: why not, or what was recorded and how far it is from full passes."""

    store_bytes: int = 0
    seconds: float = 0.0
    """Wall clock of tracing, recording and checking."""

    record_seconds: float = 0.0
    """Of these, what recording took; 0 where all records were there."""

    deviation: Deviation | None = None


@dataclass(frozen=True, eq=False)
class Opened:
    """A replay that has been proved, with the stores of its cohorts by role."""

    replay: Replay
    plans: Mapping[str, Plan]
    stores: Mapping[str, Store]
    note: ReplayNote


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be recorded."""

    pipeline: Pipeline
    train: Cohort
    validation: Cohort
    perturbers: Sequence[nn.Module]
    """A site each, as they will be trained; the check takes randomised copies."""

    epochs: int
    settings: ReplaySettings = ReplaySettings()
    views: tuple[str, ...] = ("as-is",)
    draws: int = 1
    folder: Path | None = None
    processes: Processes = ONE
    progress: bool = True
    say: Callable[[str], None] = print


@contextmanager
def open_replay(order: Order) -> Iterator[Opened | ReplayNote]:
    """Record two cohorts and yield them, or the reason why not; the stores are closed at the end.

    Raises:
        ConfigError: The settings ask for a store that cannot be had here.
        ReplayError: The settings insist on replay, and it is not right for this host.
        StoreError: The disk is full, or the store cannot be written.
    """
    with ExitStack() as stack:
        yield _try(order, stack)


def _try(order: Order, stack: ExitStack) -> Opened | ReplayNote:
    if order.settings.store == "off":
        return ReplayNote(False, "turned off by [replay] store")
    start = time.perf_counter()
    try:
        return _opened(order, stack, start)
    except ReplayError as error:
        stack.close()
        if order.settings.store != "auto":
            raise
        return ReplayNote(False, str(error), seconds=time.perf_counter() - start)


def _opened(order: Order, stack: ExitStack, start: float) -> Opened:
    replay, per_case = _together(order.processes, lambda: _traced(order))
    if len({*order.processes.gather(replay.described())}) > 1:
        raise ReplayError("the processes do not trace this host alike")
    draws = {"validation": 0, "train": max(1, order.draws)}
    views = {"validation": ("as-is",), "train": order.views}
    precision = order.settings.precision
    plans = {
        role: Plan(replay, order.pipeline, cohort, precision, views[role], draws[role])
        for role, cohort in (("validation", order.validation), ("train", order.train))
    }
    size = sum(plan.layout().record_bytes * plan.records for plan in plans.values())
    stores = _together(order.processes, lambda: _stores(order, plans, size, stack))
    recorded = []
    for role, plan in plans.items():
        _announce(order, plan, stores[role], role, per_case)
        recorded.append(_recorded(order, plan, stores[role], role))
    seconds = time.perf_counter() - start
    records = " + ".join(f"{plans[role].records:,}" for role in ("train", "validation"))
    worst = max((found for found, _ in recorded), key=lambda one: one.outputs)
    why = f"{records} records, {_gigabytes(size)}; {worst}"
    spent = sum(taken for _, taken in recorded)
    return Opened(replay, plans, stores, ReplayNote(True, why, size, seconds, spent, worst))


def _together(processes: Processes, run: Callable[[], T]) -> T:
    """Return what `run` gives; where it is refused in one process it is refused in all."""
    try:
        found, why = run(), ""
    except ReplayError as error:
        found, why = None, str(error)
    if said := [one for one in processes.gather(why) if one]:
        raise ReplayError(said[0])
    return cast(T, found)


def _traced(order: Order) -> tuple[Replay, float]:
    """Find the frontier, and check it on two cases before hours are spent on recording.

    Returns:
        The replay, and the seconds that recording a case takes.

    Raises:
        ReplayError: There is none, it is not right, or it does not pay.
    """
    pipeline = order.pipeline
    inputs = pipeline.inputs([order.train[0], order.train[1]])
    try:
        replay = Replay.of(pipeline.segmentor, inputs)
        began = time.perf_counter()
        records = replay.capture(inputs)
        per_case = (time.perf_counter() - began) / 2
        found = deviation(replay, inputs, records, order.perturbers)
        saved = worth(replay, inputs, records)
    except AppleSegError:
        raise
    except Exception as error:  # a host may refuse in its own way what replay hands it
        raise ReplayError(f"tracing this host fails: {type(error).__name__}: {error}") from error
    if not found.within(replay.precision):
        raise ReplayError(f"a replayed pass is not a full one for this host ({found})")
    if order.settings.store == "auto" and order.epochs < 2:
        raise ReplayError("replay would not pay: one epoch takes no longer than recording")
    if order.settings.store == "auto" and not pays(saved):
        raise ReplayError(
            f"replay would not pay: it saves {saved:.0f} operations for each byte that is read"
        )
    return replay, per_case


def _stores(
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


def _announce(order: Order, plan: Plan, store: Store, role: str, per_case: float) -> None:
    missing = len(store.missing())
    if not order.processes.main:
        return
    if found := getattr(store, "found", ""):
        order.say(f"replay, {role}: {found}")
    if missing:
        where = (
            f" in {order.folder / role}" if isinstance(store, DiskStore) and order.folder else ""
        )
        seconds = missing * per_case / order.processes.count
        order.say(
            f"replay, {role}: recording {missing:,} records, "
            f"{_gigabytes(plan.layout().record_bytes * missing)}{where}; about {_duration(seconds)}"
        )


def _recorded(order: Order, plan: Plan, store: Store, role: str) -> tuple[Deviation, float]:
    """Fill a store and check what it holds; records that were there already may be made anew.

    Returns:
        How far a replayed pass is from a full one, and the seconds that filling took.

    Raises:
        ReplayError: Freshly made records are not right either.
    """
    processes = order.processes
    reused = processes.from_main(lambda: len(store.missing()) < store.records)
    while True:
        start = time.perf_counter()
        _together(processes, lambda: _fill(order, plan, store, role))
        store.reload()
        if missing := len(store.missing()):
            raise StoreError(f"{missing} records of {role} are not there after recording")
        taken = time.perf_counter() - start
        found, targets = _together(processes, lambda: _checked(plan, store, order.perturbers))
        sound = found.within(plan.tolerance) and targets
        if all(processes.gather(sound)):
            return found, taken
        if not reused:
            raise ReplayError(f"recorded passes are not full ones for this host ({found})")
        if processes.main:
            order.say(f"replay, {role}: the records are of other code ({found}): recording anew")
        processes.wait()
        if processes.main:
            store.clear()
        processes.wait()
        store.reload()
        reused = False


def _fill(order: Order, plan: Plan, store: Store, role: str) -> None:
    # By what the main process misses: each sees what others have written at a time of its own.
    due = order.processes.from_main(store.missing)
    quiet = not (order.progress and order.processes.main)
    share = due[order.processes.rank :: order.processes.count]
    fill(plan, store, share, progress=not quiet, description=f"recording {role}")
    store.reload()  # what is written reaches the others' eyes before they look


def _checked(plan: Plan, store: Store, perturbers: Sequence[nn.Module]) -> tuple[Deviation, bool]:
    """Compare the first and the last record with full passes, and what is stored beside them."""
    chosen = [0, plan.records - 1]
    samples = [plan.sample(record) for record in chosen]
    inputs = plan.pipeline.to_host(stacked([sample.inputs for sample in samples]))
    stored = store.read(chosen)
    targets = all(
        torch.equal(stored[name][place], value)
        for place, sample in enumerate(samples)
        for name, value in sample.targets.items()
    )
    return deviation(plan.replay, inputs, stored, perturbers), targets


def _check_memory(size: int, *, insist: bool) -> None:
    import psutil

    free = psutil.virtual_memory().available
    if size > free / 2:
        error = ConfigError if insist else ReplayError
        raise error(
            f"the records would take {_gigabytes(size)} of memory, of {_gigabytes(free)} free; "
            'set [replay] precision to "half", or store to "disk" and give the fit a folder'
        )


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2g} GB" if size >= 1e8 else f"{size / 1e6:.2g} MB"


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
