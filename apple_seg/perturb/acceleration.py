"""accelerate, as a fit uses it: devices, processes, mixed precision, trackers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from apple_seg.errors import ConfigError, MissingExtraError
from apple_seg.files import plain
from apple_seg.perturb.record import FitSettings
from apple_seg.processes import PATIENCE, started


@contextmanager
def accelerated(settings: FitSettings, device: torch.device, folder: Path | None) -> Iterator[Any]:
    """Yield an `accelerate.Accelerator` for a host that is on `device` already.

    The settings decide on mixed precision, not the flags of `accelerate launch`: a fit is
    described by its file. What accelerate remembers of this process is put back at the end, so
    that the next fit may choose another precision, and a caller's own accelerator goes on.

    Raises:
        MissingExtraError: accelerate or a tracker is not installed.
        ConfigError: accelerate knows no such tracker, or the device no such precision.
    """
    try:
        from accelerate.state import AcceleratorState, GradientState, PartialState
    except ModuleNotFoundError as missing:
        raise MissingExtraError(
            f"a fit needs {missing.name}: pip install 'apple-seg[workbench]'"
        ) from missing
    if settings.mixed_precision == "fp16" and device.type == "cpu":
        raise ConfigError('[fit] mixed_precision = "fp16" needs a GPU; a CPU has "bf16"')
    states = [AcceleratorState, GradientState, *([] if started() > 1 else [PartialState])]
    before = [dict(state._shared_state) for state in states]
    for state in states:
        state._shared_state.clear()
    accelerator = None
    try:
        accelerator = _start(settings, device, folder)
        yield accelerator
    finally:
        try:
            # Not `end_training`: it also ends the process group, which is the caller's.
            for tracker in accelerator.trackers if accelerator is not None else ():
                tracker.finish()
        finally:
            for state, content in zip(states, before, strict=True):
                state._shared_state.clear()
                state._shared_state.update(content)


def _start(settings: FitSettings, device: torch.device, folder: Path | None) -> Any:
    from accelerate import Accelerator
    from accelerate.utils import GradientAccumulationPlugin, InitProcessGroupKwargs

    wanted = list(settings.trackers)
    patience = [InitProcessGroupKwargs(timeout=PATIENCE)] if started() > 1 else []
    try:
        accelerator = Accelerator(
            cpu=device.type == "cpu",
            mixed_precision=settings.mixed_precision,
            log_with=wanted or None,
            project_dir=folder,
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),  # it is ours
            kwargs_handlers=patience,
        )
    except ValueError as error:
        raise ConfigError(f"[fit] trackers {wanted}, mixed_precision: {error}") from error
    if len(accelerator.log_with) < len(wanted):
        raise MissingExtraError(f"not all of the trackers {', '.join(wanted)} are installed")
    if wanted:
        config = {name: value for name, value in plain(settings).items() if _simple(value)}
        accelerator.init_trackers("apple-seg", config=config)
    return accelerator


def _simple(value: Any) -> bool:
    return isinstance(value, bool | int | float | str)
