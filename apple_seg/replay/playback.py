"""A host whose frontier returns records instead of running."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from apple_seg.errors import ReplayError
from apple_seg.host import Inputs, PerturbedSegmentor, Segmentation, to_layout
from apple_seg.replay.calls import Call, another_way, answered, capture
from apple_seg.replay.frontier import find_calls, installed
from apple_seg.replay.outputs import Leaf, Output, describe_outputs

IMAGES = "images"
"""Name of the record that holds the host's input, where something after the frontier reads it."""

Records = Mapping[str, Tensor]
"""By leaf: (N, rows, *rest)."""


@dataclass(frozen=True, eq=False)
class Replay:
    """The frontier of a wrapped host: what is recorded of each case, and how it is played back."""

    segmentor: PerturbedSegmentor
    outputs: tuple[Output, ...]
    """In the order in which their calls end."""

    channels: int
    """Of the images."""

    grid: tuple[int, ...]
    """Spatial shape of the images."""

    reads_images: bool = True
    """Whether something after the frontier reads the values of the images too."""

    unread: float = torch.nan
    """Stands where nobody reads, so that a reading would show."""

    @classmethod
    def of(cls, segmentor: PerturbedSegmentor, inputs: Inputs) -> Self:
        """Trace a wrapped host on two cases.

        Args:
            segmentor: A wrapped host; its perturbers do not matter.
            inputs: Two different cases, on the host's device.

        Raises:
            ReplayError: Nothing of this host can be replayed at these sites.
        """
        segmentor.check_attached()
        first, second = (one_case(inputs, place) for place in (0, 1))
        barred: frozenset[Call] = frozenset()
        while True:
            calls = find_calls(segmentor, inputs, barred=barred)
            if not calls:
                sites = ", ".join(map(str, segmentor.sites))
                raise ReplayError(f"no call ends before the sites ({sites}) and is free of them")
            captured = [capture(segmentor, batch, calls) for batch in (first, second, inputs)]
            outputs, unclear = describe_outputs(calls, *captured)
            if not unclear:
                break
            barred |= unclear
        shape = inputs.images.shape
        found = cls(segmentor, tuple(outputs), shape[1], tuple(shape[2:]))
        return found._without_unread(inputs)

    @property
    def precision(self) -> str:
        """The precision of the host's arithmetic: "half" also where convolutions may use TF32."""
        weights = next(self.segmentor.host.parameters())
        return "half" if weights.is_cuda or weights.dtype.itemsize < 4 else "host"

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """What is stored of each case."""
        stored = [leaf for output in self.outputs for leaf in output.leaves]
        chosen = tuple(leaf for leaf in stored if leaf.kind == "stored")
        if not self.reads_images:
            return chosen
        weights = next(self.segmentor.host.parameters())
        return (*chosen, Leaf(IMAGES, (1, self.channels, *self.grid), weights.dtype))

    def described(self) -> tuple[Any, ...]:
        """Return what is recorded and what is read, to be compared with another trace."""
        kinds = [(leaf.name, leaf.kind) for output in self.outputs for leaf in output.leaves]
        return self.reads_images, *kinds

    def capture(self, inputs: Inputs) -> dict[str, Tensor]:
        """Run the host up to the end of its frontier; return the records (N, rows, *rest).

        Raises:
            ReplayError: The host went another way than when it was traced.
        """
        calls = [output.call for output in self.outputs]
        values = capture(self.segmentor, inputs, calls)
        if missed := [call for call in calls if call not in values]:
            raise another_way(missed)
        cases = len(inputs.images)
        records: dict[str, Tensor] = {}
        for output in self.outputs:
            flat = pytree.tree_leaves(values[output.call])
            records |= {
                leaf.name: value.unflatten(0, (cases, leaf.shape[0]))
                for leaf, value in zip(output.leaves, flat, strict=True)
                if leaf.kind == "stored"
            }
        return records | ({IMAGES: inputs.images[:, None]} if self.reads_images else {})

    def segment(self, inputs: Inputs, records: Records) -> Segmentation:
        """Do what `segmentor(images)` does, from records."""
        with self._playing(records, len(inputs.images)):
            played: Segmentation = self.segmentor(self._images(inputs, records), **inputs.prompts)
            return played

    def predict(self, inputs: Inputs, records: Records) -> Tensor:
        """Do what `segmentor.predict(images)` does, from records."""
        with self._playing(records, len(inputs.images)):
            return self.segmentor.predict(self._images(inputs, records), **inputs.prompts)

    def blank(self, cases: int) -> Tensor:
        """Return images (N, C, *grid) that hold no value but `unread`, and take no memory."""
        weights = next(self.segmentor.host.parameters())
        nothing = torch.full((), self.unread, dtype=weights.dtype, device=weights.device)
        return nothing.expand(cases, self.channels, *self.grid)

    def _images(self, inputs: Inputs, records: Records) -> Tensor:
        if self.reads_images:
            host = self.segmentor.host
            return to_layout(records[IMAGES].to(next(host.parameters())).flatten(0, 1), host)
        return self.blank(len(inputs.images))

    def _playing(self, records: Records, cases: int) -> AbstractContextManager[None]:
        """Let each call of the frontier return its record.

        Raises:
            ReplayError: A call of the frontier did not happen: the host went another way.
        """
        host = self.segmentor.host
        device = next(host.parameters()).device
        return answered(
            host,
            {
                output.call: partial(output.rebuild, cases, records, device, self.unread)
                for output in self.outputs
            },
        )

    def _without_unread(self, inputs: Inputs) -> Self:
        """Drop what nobody reads after the frontier, found by putting other values in its place."""
        with torch.no_grad(), installed(self.segmentor, [_Keep() for _ in self.segmentor.sites]):
            records = self.capture(inputs)
            fresh = {name: value.clone() for name, value in records.items()}
            expected = self.segment(inputs, fresh)

            def same(trial: Self) -> bool:
                # Several: a host may compare what it reads, and no comparison holds of NaN.
                for filling in (0.0, 1e4, -1e4, torch.nan):
                    fresh = {name: value.clone() for name, value in records.items()}
                    try:
                        found = replace(trial, unread=filling).segment(inputs, fresh)
                    except Exception:  # a host that looks at values refuses NaN in its own way
                        return False
                    if not _equal(found, expected):
                        return False
                return True

            found = self
            if same(trial := replace(found, reads_images=False)):
                found = trial
            for place, output in enumerate(found.outputs):
                for leaf in output.leaves:
                    if leaf.kind == "stored" and leaf.dtype.is_floating_point:
                        trial = found._unread(place, leaf)
                        found = trial if same(trial) else found
        return found

    def _unread(self, place: int, leaf: Leaf) -> Self:
        output = self.outputs[place]
        leaves = tuple(
            replace(one, kind="unread") if one.name == leaf.name else one for one in output.leaves
        )
        outputs = list(self.outputs)
        outputs[place] = replace(output, leaves=leaves)
        return replace(self, outputs=tuple(outputs))


def one_case(inputs: Inputs, place: int) -> Inputs:
    """Return one case of a batch, as a batch."""
    one = slice(place, place + 1)
    prompts = {name: value[one] for name, value in inputs.prompts.items()}
    return Inputs(inputs.images[one], prompts, inputs.frames[one])


class _Keep(nn.Module):
    """Change nothing; unlike the identity, it is run."""

    def forward(self, latent: Tensor) -> Tensor:
        return latent


def _equal(one: Segmentation, two: Segmentation) -> bool:
    return torch.equal(one.logits, two.logits) and all(
        torch.equal(*pair) for pair in zip(one.latents, two.latents, strict=True)
    )
