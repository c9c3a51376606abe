"""A host as it is deployed: from cases to masks on each case's own grid."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from apple_seg.errors import ConfigError, HostError
from apple_seg.host.frozen import to_layout
from apple_seg.host.inputs import MODES, Frame, Inputs, Picture, Sample, prepare
from apple_seg.host.segmentor import PerturbedSegmentor
from apple_seg.host.spec import HostSpec
from apple_seg.views import VIEWS


class Pipeline:
    """A host as it is deployed: cases in, masks out. It is what audits call a `Predict`.

    Images of differing sizes need a spec with `input.size`, or batches of one.
    """

    def __init__(
        self, segmentor: PerturbedSegmentor, spec: HostSpec, classes: Sequence[str]
    ) -> None:
        self.segmentor = segmentor
        self.spec = spec
        self.classes = tuple(classes)
        self.channels = spec.channel_of(classes)

    def __call__(self, cases: Sequence[Sample]) -> list[NDArray[np.bool_]]:
        """Segment cases to masks (K, *spatial), each on its own grid.

        Where the spec names no size, images of differing shapes are run one by one. Where the
        perturbed segmentor has several `views`, they are put to the vote.

        Raises:
            HostError: The host returned something that is not a number.
            ConfigError: Several views, and prompts, which do not turn with an image.
        """
        views = self.segmentor.views
        if len(views) > 1 and self.segmentor.enabled and self.segmentor.strength:
            return self.vote(cases, views)
        return [self._drawn(logits) for logits in self._segment(cases)]

    def vote(self, cases: Sequence[Sample], views: Sequence[str]) -> list[NDArray[np.bool_]]:
        """Segment cases to the masks of the mean of several views' probabilities, (K, *spatial).

        A soft vote, as test-time augmentation has it: each view is segmented, brought to the
        case's own grid and turned back. A segmentor is seldom the same in mirrors; where its views
        part, their mean is mostly nearer to the truth than any one of them.

        Raises:
            HostError: The host returned something that is not a number.
            ConfigError: The host has prompts, which do not turn with an image.
        """
        if self.spec.prompt.kind != "none":
            raise ConfigError(
                f"views mirror or turn the image, and not its {self.spec.prompt.kind}: a host with "
                "prompts answers in one view"
            )
        sums: list[NDArray[np.float32]] = []
        for view in (VIEWS[name] for name in views):
            seen = self._segment([Picture.of(case, view) for case in cases])
            turned = [view.undo(self._probabilities(logits)) for logits in seen]
            sums = [one + more for one, more in zip(sums, turned, strict=True)] if sums else turned
        return [self._decided(torch.from_numpy(one / len(views))) for one in sums]

    def _segment(self, cases: Sequence[Sample]) -> Iterator[Tensor]:
        """Yield each case's logits (K', *spatial) on its own grid, one in memory at a time."""
        shapes = {case.image.shape for case in cases}
        if len(shapes) > 1 and self.spec.input.size is None:
            for case in cases:
                yield from self._segment([case])
            return
        inputs = self.inputs(cases)
        raw = self.segmentor.predict(inputs.images, **inputs.prompts)
        yield from self._finite(raw, inputs, cases)

    def decide(
        self, raw: Tensor, inputs: Inputs, cases: Sequence[Sample]
    ) -> list[NDArray[np.bool_]]:
        """Turn what the host returned for a batch into masks (K, *spatial), each on its own grid.

        Raises:
            HostError: It returned something that is not a number.
        """
        return [self._drawn(logits) for logits in self._finite(raw, inputs, cases)]

    def _finite(self, raw: Tensor, inputs: Inputs, cases: Sequence[Sample]) -> Iterator[Tensor]:
        """Yield logits on each case's own grid, after a look that they are numbers."""
        logits = self.logits(raw, inputs.images.shape[2:])
        finite = torch.isfinite(logits).flatten(1).all(1).tolist()
        if wrong := [case.key for case, sound in zip(cases, finite, strict=True) if not sound]:
            raise HostError(
                f"the host's output is not finite for {', '.join(wrong[:3])} ({len(wrong)} of "
                f"{len(cases)} cases of a batch); check [host.input] and the checkpoint"
            )
        for one, frame in zip(logits, inputs.frames, strict=True):
            yield _on_own_grid(one, frame)

    def deployed(self, cases: Sequence[Sample]) -> list[NDArray[np.bool_]]:
        """Segment cases with the host as deployed, every perturber disabled."""
        with self.segmentor.disabled():
            return self(cases)

    def inputs(self, cases: Sequence[Sample]) -> Inputs:
        """Preprocess cases to one batch, as the host's device and precision want it."""
        return self.to_host(prepare(cases, self.spec))

    def to_host(self, inputs: Inputs) -> Inputs:
        """Bring a batch to the host's device, precision and memory layout."""
        host = self.segmentor.host
        weights = next(host.parameters())
        prompts = {name: value.to(weights) for name, value in inputs.prompts.items()}
        return Inputs(to_layout(inputs.images.to(weights), host), prompts, inputs.frames)

    def logits(self, raw: Tensor, grid: Sequence[int]) -> Tensor:
        """Return what the host gave as logits (N, K', *grid), enlarged where it gave fewer cells.

        Raises:
            ConfigError: It has fewer channels than the classes need.
        """
        if raw.shape[1] <= max(self.channels):
            raise ConfigError(
                f"the host returns {raw.shape[1]} channels, the classes need channel "
                f"{max(self.channels)}: {dict(zip(self.classes, self.channels, strict=True))}"
            )
        logits = to_logits(raw, self.spec)
        if logits.shape[2:] == tuple(grid):
            return logits
        mode = MODES[len(grid)]
        return functional.interpolate(logits, tuple(grid), mode=mode, align_corners=False)

    def _drawn(self, logits: Tensor) -> NDArray[np.bool_]:
        # The largest logit is the largest probability, to the last bit.
        return self._decided(logits if self._exclusive else logits.sigmoid())

    def _probabilities(self, logits: Tensor) -> NDArray[np.float32]:
        found = logits.softmax(0) if self._exclusive else logits.sigmoid()
        return found.cpu().numpy()

    def _decided(self, values: Tensor) -> NDArray[np.bool_]:
        """Return masks (K, *spatial) of probabilities (K', *spatial)."""
        if self._exclusive:
            winner = values.argmax(0)
            planes = torch.stack([winner == channel for channel in self.channels])
        else:
            planes = values[self.channels] > self.spec.output.threshold
        return planes.cpu().numpy()

    @property
    def _exclusive(self) -> bool:
        return self.spec.output.activation == "softmax"


def _on_own_grid(logits: Tensor, frame: Frame) -> Tensor:
    """Bring one image's logits (K', *grid) to its own grid."""
    part = logits[(slice(None), *(slice(0, size) for size in frame.inside))][None].float()
    if part.shape[2:] != frame.native:
        mode = MODES[len(frame.native)]
        part = functional.interpolate(part, frame.native, mode=mode, align_corners=False)
    return part[0]


def to_logits(raw: Tensor, spec: HostSpec) -> Tensor:
    """Undo the activation of a host that returns probabilities."""
    if spec.output.kind == "logits":
        return raw
    if spec.output.activation == "softmax":
        return raw.clamp_min(1e-6).log()
    return torch.logit(raw, eps=1e-6)
