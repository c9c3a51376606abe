"""accelerate, as a fit uses it: devices, processes, mixed precision, trackers."""

from pathlib import Path
from typing import Any

import torch

from apple_seg.errors import ConfigError, MissingExtraError
from apple_seg.files import plain
from apple_seg.perturb.record import FitSettings


def start_accelerator(settings: FitSettings, device: torch.device, folder: Path | None) -> Any:
    """Return an `accelerate.Accelerator` for a host that is on `device` already.

    The settings decide on mixed precision, not the flags of `accelerate launch`: a fit is
    described by its file.

    Raises:
        MissingExtraError: accelerate or a tracker is not installed.
        ConfigError: accelerate knows no such tracker, or it needs a folder.
    """
    try:
        from accelerate import Accelerator
    except ModuleNotFoundError as missing:
        raise MissingExtraError(
            f"a fit needs {missing.name}: pip install 'apple-seg[workbench]'"
        ) from missing
    wanted = list(settings.trackers)
    try:
        accelerator = Accelerator(
            cpu=device.type == "cpu",
            mixed_precision=settings.mixed_precision,
            log_with=wanted or None,
            project_dir=folder,
        )
    except ValueError as error:
        raise ConfigError(f"[fit] trackers {wanted}, mixed_precision: {error}") from error
    if len(accelerator.log_with) < len(wanted):
        raise MissingExtraError(f"not all of the trackers {', '.join(wanted)} are installed")
    if wanted:
        config = {name: value for name, value in plain(settings).items() if _simple(value)}
        accelerator.init_trackers("apple-seg", config=config)
    return accelerator


def end_accelerator(accelerator: Any) -> None:
    """Close the trackers, and let the next fit of this process choose another precision."""
    from accelerate.state import AcceleratorState

    accelerator.end_training()
    AcceleratorState._reset_state()


def _simple(value: Any) -> bool:
    return isinstance(value, bool | int | float | str)
