"""Which calls of a host need not be repeated: those that no perturber can change."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from apple_seg.host import Inputs, PerturbedSegmentor, disturbed
from apple_seg.replay.calls import Call

_CONSTANTS = (type(None), bool, int, float, str)


def find_calls(
    segmentor: PerturbedSegmentor, inputs: Inputs, *, barred: frozenset[Call] = frozenset()
) -> list[Call]:
    """Return the outermost replayable calls, in the order in which they end.

    The host is run twice: clean, and with noise at every site and the prompts exchanged. A call is
    replayable if it ends before the last site fires, no site fires inside it, and its raw output,
    taken before any tap, is bit-equal in both. That it merely ends before the last site is not
    enough: where sites stand in sequence, deeper calls depend on the perturbed earlier ones.

    Args:
        segmentor: A wrapped host.
        inputs: A batch on the host's device.
        barred: Calls that are known not to be replayable for other reasons.
    """
    clean, noisy = (_trace(segmentor, inputs, noisy=noisy) for noisy in (False, True))
    unchanged = {
        call: run
        for call, run in clean.runs.items()
        if call not in barred
        and run.digest is not None
        and call in noisy.runs
        and noisy.runs[call].digest == run.digest
        and all(not run.start < fired < run.end for fired in clean.fired)
    }
    outermost = [
        (run.end, call)
        for call, run in unchanged.items()
        if not any(one.start < run.start and run.end < one.end for one in unchanged.values())
    ]
    return [call for _, call in sorted(outermost, key=lambda pair: pair[0])]


@dataclass
class _Run:
    start: int
    end: int = -1
    digest: bytes | None = None
    """Of the raw output; None where it holds something other than tensors and constants, and for
    calls that end after the last site."""


@dataclass
class _Traced:
    runs: dict[Call, _Run] = field(default_factory=dict)
    fired: list[int] = field(default_factory=list)
    """When each site fired."""


def _trace(segmentor: PerturbedSegmentor, inputs: Inputs, *, noisy: bool) -> _Traced:
    """Run the host once and note when each call began and ended, and what it returned."""
    traced, clock, stack = _Traced(), count(), list[_Run]()
    calls: dict[str, int] = {}
    expected = len(segmentor.sites)

    def enter(name: str) -> None:
        call = Call(name, calls.get(name, 0))
        calls[name] = call.index + 1
        stack.append(traced.runs.setdefault(call, _Run(next(clock))))

    def leave(output: Any) -> None:
        run = stack.pop()
        run.end = next(clock)
        if len(traced.fired) < expected:
            run.digest = _digest(output)

    def fire() -> None:
        traced.fired.append(next(clock))

    watchers = [_Watcher(fire, noisy=noisy) for _ in range(expected)]
    with ExitStack() as hooks, installed(segmentor, watchers):
        for name, module in segmentor.host.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue  # runs no Python hooks; it is a part of the call around it
            before = module.register_forward_pre_hook(
                lambda *_, name=name: enter(name), prepend=True
            )
            after = module.register_forward_hook(
                lambda _module, _inputs, output: leave(output), prepend=True
            )
            hooks.callback(before.remove)
            hooks.callback(after.remove)
        prompts = {name: value.flip(0) for name, value in inputs.prompts.items()}
        segmentor.predict(inputs.images, **(prompts if noisy else inputs.prompts))
    return traced


class _Watcher(nn.Module):
    """Say that a site fires, and disturb the latent where that is asked for."""

    def __init__(self, say: Callable[[], None], *, noisy: bool) -> None:
        super().__init__()
        self.say = say
        self.noisy = noisy

    def forward(self, latent: Tensor) -> Tensor:
        self.say()
        return disturbed(latent) if self.noisy else latent


@contextmanager
def installed(segmentor: PerturbedSegmentor, perturbers: Sequence[nn.Module]) -> Iterator[None]:
    """Put other perturbers in place for a while."""
    before, views = list(segmentor.perturbers), segmentor.views
    segmentor.install(perturbers)
    try:
        yield
    finally:
        segmentor.install(before)
        segmentor.views = views


def _digest(output: Any) -> bytes | None:
    leaves, spec = pytree.tree_flatten(output)
    digest = hashlib.sha1(repr(spec).encode(), usedforsecurity=False)
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            digest.update(f"{leaf.dtype}{tuple(leaf.shape)}".encode())
            plain = leaf.detach().cpu().contiguous().flatten()
            digest.update(plain.view(torch.uint8).numpy().data)
        elif isinstance(leaf, _CONSTANTS):
            digest.update(repr(leaf).encode())
        else:
            return None
    return digest.digest()
