"""What a call returns: which of it belongs to a case, and how a batch is made of it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from apple_seg.replay.calls import Call

_CLOSE, _EQUAL = 1e-3, 1e-5
"""What another batch size may do to a value, and to one that is the same for all cases."""


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
