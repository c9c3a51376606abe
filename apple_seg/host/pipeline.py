"""A host as it is deployed: from cases to masks on each case's own grid."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from apple_seg.errors import ConfigError, HostError
from apple_seg.host.frozen import to_layout
from apple_seg.host.inputs import MODES, Frame, Inputs, Sample, Seen, prepare
from apple_seg.host.segmentor import PerturbedSegmentor
from apple_seg.host.spec import HostSpec
from apple_seg.views import VIEWS, View


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
        perturbed segmentor has several `views`, its masks in them are put to the vote.

        Raises:
            HostError: The host returned something that is not a number.
            ConfigError: Several views, and prompts from columns, which do not turn with an image.
        """
        views = self.segmentor.views
        if len(views) > 1 and self.segmentor.enabled:
            return self.vote(cases, views)
        return self._segment(cases)

    def vote(self, cases: Sequence[Sample], views: Sequence[str]) -> list[NDArray[np.bool_]]:
        """Segment cases to what most of their masks in several views agree on, (K, *spatial).

        A mask is drawn in each view and brought back; a pixel is inside where more than half of
        them say so, and where they are even, if the mask of the case as it is says so. A segmentor
        is seldom the same in mirrors; where its views part, the majority is mostly nearer to the
        truth than any one of them, as averaging at test time has long shown.

        Raises:
            HostError: The host returned something that is not a number.
            ConfigError: Prompts are read from columns, which do not turn with an image.
        """
        if prompts := self.spec.prompt.columns:
            raise ConfigError(
                f"views mirror or turn the image, and not the prompts in {', '.join(prompts)}: "
                "such a host answers in one view"
            )
        masks = {view: self._in_view(cases, VIEWS[view]) for view in views}
        own = masks.get("as-is")
        if own is None:
            own = self._segment(cases)
        found = []
        for several, single in zip(zip(*masks.values(), strict=True), own, strict=True):
            votes = 2 * np.sum(several, axis=0, dtype=np.int16)
            found.append((votes > len(views)) | ((votes == len(views)) & single))
        return found

    def _in_view(self, cases: Sequence[Sample], view: View) -> list[NDArray[np.bool_]]:
        masks = self._segment([Seen.of(case, view) for case in cases])
        return [view.undo(mask) for mask in masks]

    def _segment(self, cases: Sequence[Sample]) -> list[NDArray[np.bool_]]:
        shapes = {case.image.shape for case in cases}
        if len(shapes) > 1 and self.spec.input.size is None:
            return [mask for case in cases for mask in self._segment([case])]
        inputs = self.inputs(cases)
        return self.decide(self.segmentor.predict(inputs.images, **inputs.prompts), inputs, cases)

    def decide(
        self, raw: Tensor, inputs: Inputs, cases: Sequence[Sample]
    ) -> list[NDArray[np.bool_]]:
        """Turn what the host returned for a batch into masks (K, *spatial), each on its own grid.

        Raises:
            HostError: It returned something that is not a number.
        """
        logits = self.logits(raw, inputs.images.shape[2:])
        finite = torch.isfinite(logits).flatten(1).all(1).tolist()
        if wrong := [case.key for case, sound in zip(cases, finite, strict=True) if not sound]:
            raise HostError(
                f"the host's output is not finite for {', '.join(wrong[:3])} ({len(wrong)} of "
                f"{len(cases)} cases of a batch); check [host.input] and the checkpoint"
            )
        return [self.masks(one, frame) for one, frame in zip(logits, inputs.frames, strict=True)]

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

    def masks(self, logits: Tensor, frame: Frame) -> NDArray[np.bool_]:
        """Bring one image's logits (K', *grid) to its own grid, then decide."""
        part = logits[(slice(None), *(slice(0, size) for size in frame.inside))][None].float()
        if part.shape[2:] != frame.native:
            mode = MODES[len(frame.native)]
            part = functional.interpolate(part, frame.native, mode=mode, align_corners=False)
        if self.spec.output.activation == "softmax":
            winner = part[0].argmax(0)
            planes = torch.stack([winner == channel for channel in self.channels])
        else:
            planes = part[0, self.channels].sigmoid() > self.spec.output.threshold
        return planes.cpu().numpy()


def to_logits(raw: Tensor, spec: HostSpec) -> Tensor:
    """Undo the activation of a host that returns probabilities."""
    if spec.output.kind == "logits":
        return raw
    if spec.output.activation == "softmax":
        return raw.clamp_min(1e-6).log()
    return torch.logit(raw, eps=1e-6)
