"""Single calls of a host: what they return is captured, and they are answered in its stead."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from apple_seg.errors import ReplayError
from apple_seg.host import Inputs, PerturbedSegmentor


@dataclass(frozen=True)
class Call:
    """One run of one submodule during a forward pass."""

    module: str
    """Path of the submodule."""

    index: int
    """0 for its first call in the pass, 1 for its second, ..."""

    def __str__(self) -> str:
        return self.module + (f" (call {self.index + 1})" if self.index else "")


def capture(
    segmentor: PerturbedSegmentor, inputs: Inputs, calls: Sequence[Call]
) -> dict[Call, Any]:
    """Return copies of what these calls return, and stop the host once all of them are there."""
    captured: dict[Call, Any] = {}
    counts: dict[str, int] = {}
    wanted = set(calls)

    def keep(name: str, output: Any) -> None:
        call = Call(name, counts.get(name, 0))
        counts[name] = call.index + 1
        if call in wanted:
            # Copied, since what comes next may work in place.
            copy = pytree.tree_map_only(Tensor, lambda value: value.clone(), output)
            captured[call] = copy
            if len(captured) == len(wanted):
                raise _Enough

    with ExitStack() as hooks:
        for name in {call.module for call in calls}:
            module = segmentor.host.get_submodule(name)
            handle = module.register_forward_hook(
                lambda _module, _inputs, output, name=name: keep(name, output), prepend=True
            )
            hooks.callback(handle.remove)
        with segmentor.disabled(), suppress(_Enough):
            segmentor.predict(inputs.images, **inputs.prompts)
    return captured


@contextmanager
def answered(host: nn.Module, answers: Mapping[Call, Callable[[], Any]]) -> Iterator[None]:
    """Let these calls return their answers instead of running; the host's code is put back after.

    Raises:
        ReplayError: One of the calls did not happen: the host went another way.
    """
    due: dict[str, dict[int, Callable[[], Any]]] = {}
    for call, answer in answers.items():
        due.setdefault(call.module, {})[call.index] = answer
    players: dict[str, _Player] = {}
    with ExitStack() as stack:
        for path, by_index in due.items():
            module = host.get_submodule(path)
            players[path] = _Player(module.forward, by_index)
            stack.enter_context(_forward_replaced(module, players[path]))
        yield
    missed = [Call(path, index) for path, player in players.items() for index in player.missed()]
    if missed:
        raise another_way(missed)


def another_way(missed: Sequence[Call]) -> ReplayError:
    """Return the error that says which calls did not happen."""
    return ReplayError(f"the host did not run {', '.join(map(str, missed))} as it did when traced")


class _Player:
    """Stands for a submodule's `forward`: answers where there are some, else the real thing."""

    def __init__(self, real: Callable[..., Any], answers: Mapping[int, Callable[[], Any]]) -> None:
        self.real = real
        self.answers = answers
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        answer = self.answers.get(self.calls)
        self.calls += 1
        return self.real(*args, **kwargs) if answer is None else answer()

    def missed(self) -> list[int]:
        """Return which calls did not happen."""
        return [index for index in self.answers if index >= self.calls]


@contextmanager
def _forward_replaced(module: nn.Module, player: _Player) -> Iterator[None]:
    own = module.__dict__.get("forward")
    module.forward = player
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


class _Enough(BaseException):
    """Ends a forward pass once all that was wanted of it is there."""
