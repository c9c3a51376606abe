"""Perturbers that are set at once, in closed form, from one pass over the train cases."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from apple_seg.data import UNKNOWN
from apple_seg.errors import FitError, GroupError
from apple_seg.perturb.feeds import Feed, stream
from apple_seg.perturb.objectives import pool
from apple_seg.perturb.perturbers import Rows, Solvable
from apple_seg.perturb.recipe import Recipe
from apple_seg.perturb.sampling import Draw
from apple_seg.perturb.task import FitTask
from apple_seg.processes import Processes


class _Pooled(NamedTuple):
    """What one pass over the train cases gave."""

    sites: tuple[Tensor, ...]
    """A site each, (N, 2C)."""

    concepts: Tensor
    """(N, K)"""


@dataclass(frozen=True, eq=False)
class Solver:
    """Solves the perturbers of a recipe; in the trainer's eyes, a stepper with one step.

    Every train case counts once in each view of the settings, which have no other part in this: no
    epochs, no rates, no draws, and the host in the precision that it is deployed in. Cases of which
    nothing is known are left out.
    """

    task: FitTask
    recipe: Recipe
    processes: Processes
    device: torch.device

    def solve(self, feed: Feed) -> None:
        """Set the perturbers, the same in all processes.

        Raises:
            GroupError: There is no attribute to take out.
            FitError: A perturbed site changes what arrives at another one.
        """
        pooled = cache(lambda: self._pool(feed))
        for place, perturber in enumerate(self.recipe.perturbers):
            cast(Solvable, perturber).solve(partial(_rows, pooled, place))
        self.load_state_dict(self.processes.from_main(self.state_dict))
        if len(self.recipe.perturbers) > 1 and pooled.cache_info().currsize:
            self._check_apart(feed)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights, on the CPU."""
        states = [one.state_dict() for one in self.recipe.perturbers]
        return {"perturbers": [{k: v.cpu() for k, v in state.items()} for state in states]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        for perturber, weights in zip(self.recipe.perturbers, state["perturbers"], strict=True):
            perturber.load_state_dict(weights)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Do nothing: there is no running mean of one step."""
        yield

    def _pool(self, feed: Feed) -> _Pooled:
        """Run the host, as deployed, on all train cases of which an attribute is known.

        Each process has a share of them, and gets what all have found.
        """
        concepts, known = concepts_of(self.task)
        draws = [
            Draw(int(place), view)
            for place in np.flatnonzero(known)
            for view in range(len(self.task.settings.views))
        ]
        rank, count = self.processes.rank, self.processes.count
        size = self.task.settings.batch_size // count
        share = draws[rank::count]
        batches = [share[start : start + size] for start in range(0, len(share), size)]
        quiet = None if self.task.progress and self.processes.main else True
        bar = tqdm(
            stream(feed, batches, self.device),
            "pooling latents",
            total=len(batches),
            disable=quiet,
            leave=False,
        )
        with torch.no_grad(), self.task.pipeline.segmentor.disabled():
            found = [[pool([one]).cpu() for one in feed.segment(batch).latents] for batch in bar]
        mine = [torch.cat(site).double() for site in zip(*found, strict=True)]
        sites = tuple(_interleaved(site) for site in zip(*self.processes.gather(mine), strict=True))
        return _Pooled(sites, concepts[[draw.place for draw in draws]])

    def _check_apart(self, feed: Feed) -> None:
        """Refuse sites of which one feeds another.

        Each perturber was solved for latents as the host makes them. If an earlier one changes
        what a later one gets, what that was solved for never arrives there.
        """
        segmentor = self.task.pipeline.segmentor
        first = range(min(self.task.settings.batch_size, len(self.task.train)))
        batch = feed.fetch([Draw(place) for place in first])
        with torch.no_grad():
            found = [latent.clone() for latent in feed.segment(batch).latents]
            with segmentor.disabled():
                clean = feed.segment(batch).latents
            pairs = zip(segmentor.sites, self.recipe.perturbers, clean, found, strict=True)
            for site, perturber, before, after in pairs:
                alone = perturber(before.to(torch.promote_types(before.dtype, torch.float32)))
                allowed = max(1e-4, 4 * torch.finfo(before.dtype).eps) * float(alone.abs().max())
                if not float((alone.to(after.dtype) - after).abs().max()) <= allowed:
                    raise FitError(
                        f"what arrives at {site} is changed by the perturber of another site: both "
                        "cannot be solved at once. Leave one of the sites out"
                    )


def concepts_of(task: FitTask) -> tuple[Tensor, NDArray[np.bool_]]:
    """Return what is to be taken out, (N, K) in float64, and of which cases (N,) any is known.

    A column for each group of each attribute, 1 in the group and 0 in others, and one for each
    number; standardised over the cases where it is known, and 0 where not: such a case then says
    nothing of this attribute, and counts for the others.

    Raises:
        GroupError: There is no attribute.
    """
    table, attributes = task.train.table, task.attributes
    codes = attributes.codes(table)
    columns = [attributes.standardised(table).astype(float)]
    for place, groups in enumerate(attributes.groups):
        code = codes[:, place, None]
        told = (code == np.arange(len(groups.labels))).astype(float)
        columns.append(np.where(code == UNKNOWN, np.nan, told))
    every = np.concatenate(columns, 1)
    if not every.shape[1]:
        raise GroupError(f"{task.method.name} takes attributes out; name groups, or numbers")
    known = np.isfinite(every)
    rows = known.any(1)
    centred = every - np.nanmean(every, 0)
    spread = np.nanstd(every, 0)
    varying = spread > 0  # a group may have no case at all
    standard = np.where(known, centred, 0.0)[:, varying] / spread[varying]
    return torch.from_numpy(standard), rows


def _rows(pooled: Callable[[], _Pooled], place: int) -> Rows:
    sites, concepts = pooled()
    return Rows(sites[place], concepts)


def _interleaved(shares: Sequence[Tensor]) -> Tensor:
    """Return rows in order, of which each process had every `len(shares)`-th."""
    rows = torch.empty(sum(map(len, shares)), *shares[0].shape[1:], dtype=shares[0].dtype)
    for rank, share in enumerate(shares):
        rows[rank :: len(shares)] = share
    return rows
