"""Decide whether to replay, record what is missing, and prove that it is right."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from apple_seg.data import Cohort
from apple_seg.errors import AppleSegError, ConfigError, ReplayError
from apple_seg.host import Pipeline
from apple_seg.processes import ONE, Processes
from apple_seg.replay.check import Deviation, deviation, pays, worth
from apple_seg.replay.playback import Replay
from apple_seg.replay.recording import Plan, fill, stacked
from apple_seg.replay.store import DiskStore, MemoryStore, Store


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

    def close(self) -> None:
        """Let go of files."""
        for store in self.stores.values():
            store.close()


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


def open_replay(order: Order) -> Opened | ReplayNote:
    """Record two cohorts, or say why not.

    Raises:
        ConfigError: The settings ask for a store that cannot be had here.
        ReplayError: The settings insist on replay, and it is not right for this host.
        StoreError: The disk is full, or the store cannot be written.
    """
    if order.settings.store == "off":
        return ReplayNote(False, "turned off by [replay] store")
    start = time.perf_counter()
    try:
        return _opened(order, start)
    except ReplayError as error:
        if order.settings.store != "auto":
            raise
        return ReplayNote(False, str(error), seconds=time.perf_counter() - start)


def _opened(order: Order, start: float) -> Opened:
    replay, per_case = _traced(order)
    draws = {"train": max(1, order.draws), "validation": 0}
    views = {"train": order.views, "validation": ("as-is",)}
    precision = order.settings.precision
    plans = {
        role: Plan(replay, order.pipeline, cohort, precision, views[role], draws[role])
        for role, cohort in (("train", order.train), ("validation", order.validation))
    }
    size = sum(plan.layout().record_bytes * plan.records for plan in plans.values())
    stores: dict[str, Store] = {}
    recorded: list[tuple[Deviation, float]] = []
    try:
        for role, plan in plans.items():
            stores[role] = _open(order, plan, role, size)
            _announce(order, plan, stores[role], role, per_case)
            recorded.append(_recorded(order, plan, stores[role], role))
    except BaseException:
        for store in stores.values():
            store.close()
        raise
    seconds = time.perf_counter() - start
    records = " + ".join(f"{plan.records:,}" for plan in plans.values())
    worst = max((found for found, _ in recorded), key=lambda one: one.outputs)
    why = f"{records} records, {_gigabytes(size)}; {worst}"
    spent = sum(taken for _, taken in recorded)
    return Opened(replay, plans, stores, ReplayNote(True, why, size, seconds, spent, worst))


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
    except AppleSegError:
        raise
    except Exception as error:  # a host may refuse in its own way what replay hands it
        raise ReplayError(f"tracing this host fails: {type(error).__name__}: {error}") from error
    if not _agreed(order.processes, found.within("host")):
        raise ReplayError(f"a replayed pass is not a full one for this host ({found})")
    saved = worth(replay, inputs, records)
    if order.settings.store == "auto" and not (order.epochs > 1 and pays(saved)):
        raise ReplayError(
            "replay would not pay: "
            + (
                f"it saves {saved:.0f} operations for each byte that is read"
                if order.epochs > 1
                else "one epoch takes no longer than recording"
            )
        )
    return replay, per_case


def _open(order: Order, plan: Plan, role: str, size: int) -> Store:
    """Open the store of one cohort."""
    settings, processes = order.settings, order.processes
    folder = order.folder
    on_disk = settings.store == "disk" or (settings.store == "auto" and folder is not None)
    if not on_disk:
        insist = settings.store == "memory"
        if processes.count > 1:
            raise (ConfigError if insist else ReplayError)(
                "records in memory serve one process; with several, set [replay] store to "
                '"disk", and give the fit a folder'
            )
        _check_memory(size, insist=insist)
        return MemoryStore(plan.layout(), plan.records)
    if folder is None:
        raise ConfigError('[replay] store = "disk" needs a folder for results')

    def opened() -> Store:
        return DiskStore.open(
            folder / role,
            plan.layout(),
            plan.records,
            identity=plan.identity(),
            writer=processes.rank,
            progress=order.progress and processes.main,
            description=f"checking records of {role}",
        )

    if processes.main:
        store = opened()
        processes.wait()
        return store
    processes.wait()
    return opened()


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
    reused = len(store.missing()) < store.records
    while True:
        start = time.perf_counter()
        fill(
            plan,
            store,
            processes=processes,
            progress=order.progress,
            description=f"recording {role}",
        )
        processes.wait()
        store.reload()
        taken = time.perf_counter() - start
        found = _checked(plan, store, order.perturbers)
        if _agreed(processes, found.within(plan.precision)):
            return found, taken
        if not reused:
            raise ReplayError(f"recorded passes are not full ones for this host ({found})")
        if processes.main:
            order.say(f"replay, {role}: the records are of another host ({found}): recording anew")
        processes.wait()
        if processes.main:
            store.clear()
        processes.wait()
        store.reload()
        reused = False


def _checked(plan: Plan, store: Store, perturbers: Sequence[nn.Module]) -> Deviation:
    """Compare the first and the last record with full passes."""
    chosen = [0, plan.records - 1]
    inputs = plan.pipeline.to_host(stacked([plan.sample(record).inputs for record in chosen]))
    return deviation(plan.replay, inputs, store.read(chosen), perturbers)


def _agreed(processes: Processes, fine: bool) -> bool:
    """Say whether every process found it fine, so that all go the same way."""
    return all(processes.gather(fine))


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
