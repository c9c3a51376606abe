"""A checkpoint file to the weights of a host, all of them or none."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from apple_seg.errors import CheckpointError

_WRAPPERS = ("state_dict", "model_state_dict", "network_weights", "model", "network", "weights")
"""Keys under which training code keeps the weights: Lightning, nnU-Net, MedSAM, MONAI, ..."""

_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "segmentor.")
"""What wrappers put before a parameter's name: DDP, torch.compile, Lightning modules, ..."""

_LISTED = 8


def load_checkpoint(host: nn.Module, path: str | Path, *, trust_pickle: bool = False) -> None:
    """Load every weight of `host` from the file at `path`.

    Weights may lie under a wrapper (`state_dict`, `model`, `network_weights`, ...) and have a
    prefix (`module.`, `_orig_mod.`, `model.`, ...), both of which are recognised.

    Args:
        host: Its weights are replaced, in place, only if all match.
        path: `.safetensors`, or what `torch.save` wrote.
        trust_pickle: Whether the file may run code as it is read. Only for files that you
            wrote yourself and that cannot be read otherwise.

    Raises:
        CheckpointError: The file cannot be read, or a key is missing, left over, or of another
            shape; the keys are listed.
    """
    weights = _match(_unwrap(_read(Path(path), trust_pickle=trust_pickle), path), host, path)
    host.load_state_dict(weights, strict=True)


def _read(path: Path, *, trust_pickle: bool) -> Any:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than weights ({str(error).splitlines()[0]}). If you trust its "
            "origin, say trust_pickle=True: reading it then runs the code inside it"
        ) from error
    except Exception as error:
        size = path.stat().st_size
        raise CheckpointError(
            f"{path} ({size} bytes) cannot be read, it may be truncated: "
            f"{type(error).__name__}: {error}"
        ) from error


def _unwrap(content: Any, path: str | Path) -> dict[str, Tensor]:
    """Return the mapping of names to tensors inside what was read."""
    if isinstance(content, nn.Module):
        content = content.state_dict()
    for _ in range(3):
        if not isinstance(content, Mapping):
            break
        inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            weights = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
            if weights:
                return weights
            break
        content = inner[0]
    found = sorted(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
    raise CheckpointError(
        f"{path} holds no weights under any of {', '.join(_WRAPPERS)}; it holds: {found}"
    )


def _match(weights: dict[str, Tensor], host: nn.Module, path: str | Path) -> dict[str, Tensor]:
    """Strip the prefix that makes the names fit, or say which do not."""
    expected = host.state_dict()
    candidates = [weights]
    for _ in range(2):
        for names in list(candidates):
            candidates += [_strip(names, prefix) for prefix in _PREFIXES if _has(names, prefix)]
    best = max(candidates, key=lambda names: len(names.keys() & expected.keys()))
    missing = sorted(expected.keys() - best.keys())
    left_over = sorted(best.keys() - expected.keys())
    shapes = [
        f"{name} is {tuple(best[name].shape)}, the host's is {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & best.keys())
        if best[name].shape != expected[name].shape
    ]
    if missing or left_over or shapes:
        raise CheckpointError(
            f"{path} is not a checkpoint of this {type(host).__name__}: "
            f"{_listing('missing', missing)}; {_listing('left over', left_over)}; "
            f"{_listing('of another shape', shapes)}"
        )
    return best


def _has(weights: Mapping[str, Tensor], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in weights)


def _strip(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items()}


def _listing(title: str, names: list[str]) -> str:
    shown = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    return f"{len(names)} {title}" + (f" ({shown})" if names else "")
