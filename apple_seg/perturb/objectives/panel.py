"""The discriminators of an adversary: their optimisers, their steps, their fresh starts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from apple_seg.perturb.objectives.discriminator import JointDiscriminator


class Panel(nn.Module):
    """Several discriminators of one make, each with an Adam of its own.

    Args:
        make: Makes one.
        count: How many.
        learning_rate: Of each.
        reset_every: Steps after which one of them, in turn, starts anew; 0 never.
    """

    def __init__(
        self,
        make: Callable[[], JointDiscriminator],
        count: int,
        *,
        learning_rate: float,
        reset_every: int,
    ) -> None:
        super().__init__()
        self.make = make
        self.reset_every = reset_every
        self.members = nn.ModuleList(make() for _ in range(count))
        self.optimizers = [
            torch.optim.Adam(one.parameters(), learning_rate) for one in self.members
        ]
        self.seed = torch.initial_seed()
        """Fresh starts are drawn from it and the step alone: the same in every process."""
        self.taken = 0

    def step(self, losses: Sequence[Tensor], gather: Callable[[Tensor], Tensor]) -> None:
        """Let each take a step on its loss; after every `reset_every`, one starts anew.

        Args:
            losses: One a member.
            gather: Rows of this process to those of all.
        """
        for optimizer, loss, member in zip(self.optimizers, losses, self, strict=True):
            optimizer.zero_grad()
            loss.backward()
            member.sum_gradients(gather)
            optimizer.step()
        self.taken += 1
        if self.reset_every and self.taken % self.reset_every == 0:
            self._start_anew((self.taken // self.reset_every - 1) % len(self.members))

    def __iter__(self) -> Iterator[JointDiscriminator]:
        """Yield the discriminators."""
        yield from cast(Iterable[JointDiscriminator], self.members)

    def get_extra_state(self) -> dict[str, Any]:
        """Return what the next step depends on beside weights."""
        optimizers = [one.state_dict() for one in self.optimizers]
        return {"optimizers": optimizers, "seed": self.seed, "taken": self.taken}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up what `get_extra_state` returned."""
        for optimizer, one in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(one)
        self.seed, self.taken = state["seed"], state["taken"]

    def _start_anew(self, place: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed((self.seed + self.taken) % 2**63)
            fresh = self.make()
        self.members[place].load_state_dict(fresh.state_dict())
        self.optimizers[place].state.clear()
