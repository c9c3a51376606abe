"""Which calls of a host need not be repeated: those that no perturber can change."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from apple_seg.host import Inputs, PerturbedSegmentor

_CONSTANTS = (type(None), bool, int, float, str)
_CLOSE, _EQUAL = 1e-3, 1e-5
"""What another batch size may do to a value, and to one that is the same for all cases."""


@dataclass(frozen=True)
class Call:
    """One run of one submodule during a forward pass."""

    module: str
    """Path of the submodule."""

    index: int
    """0 for its first call in the pass, 1 for its second, ..."""

    def __str__(self) -> str:
        return self.module + (f" (call {self.index + 1})" if self.index else "")


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
    clean, noisy = (_trace(segmentor, inputs, noise=noise) for noise in (0.0, 1.0))
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


def _trace(segmentor: PerturbedSegmentor, inputs: Inputs, *, noise: float) -> _Traced:
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

    watchers = [_Watcher(lambda: traced.fired.append(next(clock)), noise) for _ in range(expected)]
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
        segmentor.predict(inputs.images, **(prompts if noise else inputs.prompts))
    return traced


class _Watcher(nn.Module):
    """Say that a site fires; add noise as large as the latent, from a generator of its own."""

    def __init__(self, say: Callable[[], None], noise: float) -> None:
        super().__init__()
        self.say = say
        self.noise = noise

    def forward(self, latent: Tensor) -> Tensor:
        self.say()
        if not self.noise:
            return latent
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(latent.shape, generator=generator).to(latent)
        scale = latent.std() if latent.numel() > 1 else latent.new_ones(())
        return latent + self.noise * drawn * torch.where(scale > 0, scale, torch.ones_like(scale))


@contextmanager
def installed(segmentor: PerturbedSegmentor, perturbers: Sequence[nn.Module]) -> Iterator[None]:
    """Put other perturbers in place for a while."""
    before = list(segmentor.perturbers)
    segmentor.install(perturbers)
    try:
        yield
    finally:
        segmentor.install(before)


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


@dataclass(frozen=True, eq=False)
class Leaf:
    """One value in what a call returns."""

    name: str
    """`<module>#<call>/<place>`"""

    shape: tuple[int, ...] = ()
    """Of one case's part, (rows, *rest): the whole is (N * rows, *rest)."""

    dtype: torch.dtype = torch.float32

    constant: Any = None
    """The same for all cases, where `kind` is "constant"."""

    kind: str = "stored"
    """"stored"; "constant"; or "unread": nobody asks for its values."""

    channels_last: bool = False
    """Its layout in memory, as the host gave it."""

    def whole(
        self, cases: int, records: Mapping[str, Tensor], device: torch.device, unread: float
    ) -> Any:
        """Return the value for a batch; `unread` stands where nobody reads."""
        if self.kind == "constant":
            return self.constant.clone() if isinstance(self.constant, Tensor) else self.constant
        shape = (cases * self.shape[0], *self.shape[1:])
        if self.kind == "unread":
            return torch.full((), unread, dtype=self.dtype, device=device).expand(shape)
        value = records[self.name].to(device, self.dtype).reshape(shape)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return value.contiguous(memory_format=layout)


@dataclass(frozen=True, eq=False)
class Output:
    """What one call returns, as leaves in a container."""

    call: Call
    leaves: tuple[Leaf, ...]
    container: pytree.TreeSpec

    def rebuild(
        self, cases: int, records: Mapping[str, Tensor], device: torch.device, unread: float
    ) -> Any:
        """Return the call's value for a batch of so many cases."""
        whole = [leaf.whole(cases, records, device, unread) for leaf in self.leaves]
        return pytree.tree_unflatten(whole, self.container)


def describe_outputs(
    calls: Sequence[Call],
    first: Mapping[Call, Any],
    second: Mapping[Call, Any],
    both: Mapping[Call, Any],
) -> tuple[list[Output], frozenset[Call]]:
    """Find what of each call belongs to each case.

    Args:
        calls: Which calls.
        first: What they returned for one case, where they were made.
        second: What they returned for another.
        both: What they returned for the two as one batch.

    Returns:
        The calls that grow with the batch, or do not change with it; and those of modules for
        which this could not be told: run once a case, say, or over cases in another order.
    """
    outputs, unclear = [], set()
    for call in calls:
        runs = [run[call] for run in (first, second, both) if call in run]
        output = _output(call, *runs) if len(runs) == 3 else None
        if output is None:
            unclear.add(call.module)
        else:
            outputs.append(output)
    return outputs, frozenset(call for call in calls if call.module in unclear)


def _output(call: Call, first: Any, second: Any, both: Any) -> Output | None:
    flat = [pytree.tree_flatten(value) for value in (first, second, both)]
    container = flat[0][1]
    if any(other != container for _, other in flat):
        return None
    leaves = []
    for place, values in enumerate(zip(*(values for values, _ in flat), strict=True)):
        leaf = _leaf(f"{call.module}#{call.index}/{place}", *values)
        if leaf is None:
            return None
        leaves.append(leaf)
    return Output(call, tuple(leaves), container)


def _leaf(name: str, first: Any, second: Any, both: Any) -> Leaf | None:
    """Say how a leaf grows with the batch; None where it does in no way that we know."""
    if not isinstance(first, Tensor):
        same = first == second == both
        return Leaf(name, constant=first, kind="constant") if same else None
    shape = tuple(first.shape)
    if _close(first, second, _EQUAL) and _close(first, both, _EQUAL):
        return Leaf(name, shape, first.dtype, constant=first, kind="constant")
    if not first.ndim or first.shape != second.shape:
        return None
    last = first.ndim == 4 and not both.is_contiguous()
    layout = last and both.is_contiguous(memory_format=torch.channels_last)
    grows = _close(torch.cat([first, second]), both, _CLOSE)
    return Leaf(name, shape, first.dtype, channels_last=layout) if grows else None


def _close(one: Tensor, two: Tensor, tolerance: float) -> bool:
    """Say whether two are equal but for what another batch size does to the last bits."""
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, two)
    scale = float(one.float().abs().max()) if one.numel() else 0.0
    return torch.allclose(one.float(), two.float(), rtol=0, atol=tolerance * scale, equal_nan=True)
