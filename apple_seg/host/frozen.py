"""A host left as it was found: its flags and modes, and the ways in which hooks are ignored."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from apple_seg.errors import HostError
from apple_seg.host.site import submodule
from apple_seg.host.taps import Tap


@dataclass(frozen=True)
class HostState:
    """The modes and flags of a host, to be put back."""

    modes: tuple[tuple[nn.Module, bool], ...]
    flags: tuple[tuple[nn.Parameter, bool], ...]

    @classmethod
    def of(cls, host: nn.Module) -> "HostState":
        """Note the train/eval mode of every submodule and `requires_grad` of every parameter."""
        modes = tuple((module, module.training) for module in host.modules())
        return cls(modes, tuple((value, value.requires_grad) for value in host.parameters()))

    def restore(self) -> None:
        """Put modes and flags back."""
        for module, training in self.modes:
            module.training = training
        for parameter, requires_grad in self.flags:
            parameter.requires_grad_(requires_grad)


@contextmanager
def channels_last(host: nn.Module, trial: Callable[[], Any] | None = None) -> Iterator[None]:
    """Lay out the weights of a host's 2D convolutions channels-last, for a while, on a CPU.

    `to_layout` then brings what meets them into the same layout. With that a fit step of three
    U-Nets took 0.74 to 0.89 of its time (two cores, perturbers lean). The host gets back the very
    tensors that it had. On other devices, where it was not measured, nothing is changed.

    Args:
        host: A host.
        trial: Runs it. Where that fails in the new layout, since the host's code views what is not
            contiguous, the old one stays.
    """
    convolutions = (one for one in host.modules() if isinstance(one, _CONVOLUTIONS))
    weights = [one.weight for one in convolutions if one.weight.device.type == "cpu"]
    found = [(weight, weight.data) for weight in weights]
    try:
        for weight in weights:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        try:
            if trial is not None:
                trial()
        except RuntimeError:
            _put_back(found)
        yield
    finally:
        _put_back(found)


_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def _put_back(found: Sequence[tuple[Tensor, Tensor]]) -> None:
    for weight, data in found:
        weight.data = data


def to_layout(value: Tensor, host: nn.Module) -> Tensor:
    """Return images (N, C, H, W) in the memory layout of the host's weights; others as they are."""
    if value.ndim != 4 or 0 in value.stride() or not any(map(_is_channels_last, host.parameters())):
        return value
    return value.contiguous(memory_format=torch.channels_last)


def _is_channels_last(weight: Tensor) -> bool:
    last = weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last)
    return last and not weight.is_contiguous()


def unwrap(host: nn.Module) -> nn.Module:
    """Return the module whose hooks count, from under `torch.compile` or DistributedDataParallel.

    Raises:
        HostError: Hooks on this host would be ignored, or would act on one device only.
    """
    if isinstance(host, torch.jit.ScriptModule):
        raise HostError(
            "a TorchScript module runs no Python hooks; build the host from its source "
            "and load the weights into that"
        )
    if isinstance(host, nn.DataParallel):
        raise HostError(
            "nn.DataParallel copies the host to each device without the perturber; "
            "wrap host.module, and run it in DistributedDataParallel"
        )
    if isinstance(host, nn.parallel.DistributedDataParallel):
        return unwrap(host.module)
    if is_compiled(host):
        inner: nn.Module = host._orig_mod  # type: ignore[assignment]
        return unwrap(inner)
    return host


def is_compiled(module: nn.Module) -> bool:
    """Tell whether `torch.compile` has wrapped this module."""
    dynamo = sys.modules.get("torch._dynamo")
    return dynamo is not None and isinstance(module, dynamo.OptimizedModule)


def forget_compiled() -> None:
    """Drop compiled code, which would go on with the hooks that it was compiled with."""
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is not None:
        dynamo.reset()


def find_tap(host: nn.Module) -> Tap | None:
    """Return a tap that sits on `host` already, if any."""
    for module in host.modules():
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values()):
            owner = getattr(hook, "__self__", None)
            if isinstance(owner, Tap):
                return owner
    return None


def refuse_scripted(host: nn.Module, path: str) -> None:
    """Refuse a site inside a scripted or traced submodule, where hooks never fire.

    Raises:
        HostError: `path` or one of its parents is TorchScript.
    """
    parts = path.split(".")
    for depth in range(1, len(parts) + 1):
        parent = ".".join(parts[:depth])
        if isinstance(submodule(host, parent), torch.jit.ScriptModule):
            raise HostError(
                f"{parent} is TorchScript and runs no Python hooks; "
                "build it from its source, or name a site outside it"
            )
