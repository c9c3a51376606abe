"""Decide whether to replay, record what is missing, and prove that it is right."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar, cast

import torch
from torch import nn

from apple_seg.errors import AppleSegError, ReplayError, StoreError
from apple_seg.processes import Processes
from apple_seg.replay.check import Deviation, deviation, pays, worth
from apple_seg.replay.choice import gigabytes, open_stores
from apple_seg.replay.order import Opened, Order, ReplayNote
from apple_seg.replay.playback import Replay
from apple_seg.replay.recording import Plan, fill, stacked
from apple_seg.replay.store import DiskStore, Store

T = TypeVar("T")


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
    stores = _together(order.processes, lambda: open_stores(order, plans, size, stack))
    recorded = []
    for role, plan in plans.items():
        _announce(order, plan, stores[role], role, per_case)
        recorded.append(_recorded(order, plan, stores[role], role))
    seconds = time.perf_counter() - start
    records = " + ".join(f"{plans[role].records:,}" for role in ("train", "validation"))
    worst = max((found for found, _ in recorded), key=lambda one: one.outputs)
    why = f"{records} records, {gigabytes(size)}; {worst}"
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
            f"{gigabytes(plan.layout().record_bytes * missing)}{where}; about {_duration(seconds)}"
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


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
