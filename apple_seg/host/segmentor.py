"""A frozen host with perturbers hooked in between encoder and decoder."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from apple_seg.errors import HostError
from apple_seg.host.adapters import Segment, choose_sites, find_adapter, run_host
from apple_seg.host.frozen import HostState, find_tap, forget_compiled, refuse_scripted, unwrap
from apple_seg.host.proof import LatentShape, prove
from apple_seg.host.site import Site
from apple_seg.host.taps import Dial, Tap
from apple_seg.views import AS_IS, VIEWS


class Segmentation(NamedTuple):
    """What one forward pass gives."""

    logits: Tensor
    """(N, K, *spatial), as the host's `segment` returns them."""

    latents: tuple[Tensor, ...]
    """A site each, (N, C, *cells): as the decoder got it, perturbed unless disabled."""


class PerturbedSegmentor(nn.Module):
    """A host whose latents pass through perturbers.

    The hooks sit on the host itself, so that the host's own pipelines (a predictor, a sliding
    window) get the perturbed latents too, until `detach()`. The perturbers are no part of the
    host: `host.state_dict()` stays as it was. A deep copy of a hooked host carries a copy of its
    perturbers; take copies before `wrap` or after `detach` if that is not what you want.

    Attributes:
        views: Of `VIEWS`: a `Pipeline` answers by the mean of its probabilities in these. Where it
            is one view, as it is unless a fit chose otherwise, a case is segmented once.
    """

    def __init__(self, host: nn.Module, sites: Sequence[Site], segment: Segment) -> None:
        super().__init__()
        self.host = host
        self.sites = tuple(sites)
        self.segment = segment
        self.shapes: tuple[LatentShape, ...] = ()
        self.example: Example | None = None
        self._views: tuple[str, ...] = AS_IS
        self._detached = False
        self._found = HostState.of(host)
        self._dial = Dial()
        self._taps = [Tap(site, self._dial) for site in self.sites]
        self.perturbers = nn.ModuleList(tap.perturber for tap in self._taps)
        self._attach()

    def _attach(self) -> None:
        try:
            self.host.eval().requires_grad_(False)
            for tap in self._taps:
                tap.attach(self.host)
        except BaseException:
            self.detach()
            raise
        forget_compiled()

    def forward(self, images: Tensor, **prompts: Any) -> Segmentation:
        """Segment images (N, C, *spatial), keeping the latents for an objective.

        Raises:
            HostError: The perturbers have been detached.
        """
        self.check_attached()
        with self._recording():
            logits = self.segment(self.host, images, **prompts)
            if any(tap.overwritten() for tap in self._taps):
                # The decoder works in place on what it gets: from now on it gets a copy.
                for tap in self._taps:
                    tap.forget()
                    tap.copies = True
                logits = self.segment(self.host, images, **prompts)
            latents = tuple(_joined(tap.latents) for tap in self._taps)
        return Segmentation(logits, latents)

    def predict(self, images: Tensor, **prompts: Any) -> Tensor:
        """Segment images (N, C, *spatial) to logits (N, K, *spatial), without gradients.

        Raises:
            HostError: The perturbers have been detached.
        """
        self.check_attached()
        with torch.no_grad():
            return self.segment(self.host, images, **prompts)

    def check_attached(self) -> None:
        """Refuse to pass the bare host off as the perturbed one.

        Raises:
            HostError: The perturbers have been detached.
        """
        if self._detached:
            raise HostError("these perturbers have been detached; wrap or attach the host anew")

    @property
    def enabled(self) -> bool:
        """Whether the perturbers act now; not so inside `disabled()`."""
        return self._dial.enabled

    def install(self, perturbers: Sequence[nn.Module]) -> None:
        """Put one perturber at each site, in the order of `sites`, and take a vote of views back.

        Raises:
            ValueError: There are more or fewer perturbers than sites.
        """
        if len(perturbers) != len(self._taps):
            raise ValueError(
                f"{len(self._taps)} sites need as many perturbers, got {len(perturbers)}"
            )
        self.perturbers, self._views = nn.ModuleList(perturbers), AS_IS
        for tap, perturber in zip(self._taps, perturbers, strict=True):
            tap.perturber = perturber

    @property
    def views(self) -> tuple[str, ...]:
        """Those whose mean a `Pipeline` answers by; see above."""
        return self._views

    @views.setter
    def views(self, names: Sequence[str]) -> None:
        axes = 3 if self.example is None else len(self.example.shape) - 2
        had = {name for name, view in VIEWS.items() if max(view.axes, default=0) < axes}
        if not {*names} <= had or not names or (len(names) == 1 and tuple(names) != AS_IS):
            known = ", ".join(VIEWS)
            raise ValueError(
                f"views are {AS_IS[0]!r} alone, or several of {known}, as far as images of {axes} "
                f"dimensions have them; got {', '.join(names) or 'none'}"
            )
        self._views = tuple(names)

    @property
    def strength(self) -> float:
        """How much of the perturbation is applied, from 0 (the host as deployed) to 1."""
        return self._dial.strength

    @strength.setter
    def strength(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"strength must be in [0, 1], got {value}")
        self._dial.strength = float(value)

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Run the host as deployed, for a baseline; in every thread that uses this host."""
        self._dial.enabled, before = False, self._dial.enabled
        try:
            yield
        finally:
            self._dial.enabled = before

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the perturbers; the host stays in eval mode, its statistics fixed."""
        super().train(mode)
        self.host.eval()
        return self

    def detach(self) -> nn.Module:
        """Take the hooks off and return the host with the weights, flags and modes it came with."""
        if self._detached:
            return self.host
        self._detached = True
        for tap in self._taps:
            tap.detach()
        self._found.restore()
        forget_compiled()
        return self.host

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Collect latents only while asked, so that none outlives its graph."""
        self._dial.recording = True
        try:
            yield
        finally:
            self._dial.recording = False
            for tap in self._taps:
                tap.forget()


def _joined(calls: Sequence[Tensor]) -> Tensor:
    """Return the latents of all calls as one tensor, without a copy where there is one call."""
    return calls[0] if len(calls) == 1 else torch.cat(list(calls))


class Example(NamedTuple):
    """What a host was proved on: enough to run it once more."""

    shape: tuple[int, ...]
    """(1, C, *spatial)"""

    prompts: Mapping[str, Tensor]


def wrap(
    host: nn.Module,
    example: Tensor,
    *,
    sites: str | Site | Sequence[Site] = "bottleneck",
    segment: Segment | None = None,
    prompts: Mapping[str, Tensor] | None = None,
) -> PerturbedSegmentor:
    """Hook `host` at its sites, prove that the hooks do something, and change nothing yet.

    Every site must fire, and noise there must change the output. New perturbers are the
    identity; a method installs its own.

    Args:
        host: A segmentor of any family. It is put in eval mode and its parameters are frozen, until
            `detach()`.
        example: Images (1, C, *spatial) to run a few times, preprocessed as for deployment.
        sites: "bottleneck", "skips", "all", "stages" (see `choose_sites`), or sites for a host that
            no adapter knows.
        segment: How to run the host with gradients; by default its adapter's way, or a plain call.
        prompts: What else the host needs, such as SAM's `boxes`.

    Raises:
        SiteError: A site is not there, does not fire, or is not read by the decoder.
        HostError: The host cannot be hooked: scripted, data-parallel, or wrapped already.
        AdapterNotFoundError: No adapter knows the host and no sites were given.
    """
    host = unwrap(host)
    if find_tap(host) is not None:
        raise HostError(f"this {type(host).__name__} is wrapped already; detach() it first")
    chosen = choose_sites(host, sites)
    for site in chosen:
        refuse_scripted(host, site.module)
    segmentor = PerturbedSegmentor(host, chosen, segment or _segment_of(host, sites))
    example_prompts = dict(prompts or {})
    try:
        segmentor.shapes = prove(segmentor, segmentor._taps, example, example_prompts)
    except BaseException:
        segmentor.detach()
        raise
    segmentor.example = Example(tuple(example.shape), example_prompts)
    return segmentor


def _segment_of(host: nn.Module, sites: str | Site | Sequence[Site]) -> Segment:
    """Return the adapter's way to run `host`, or a plain call where its sites were given."""
    if isinstance(sites, str):
        return find_adapter(host).segment
    try:
        return find_adapter(host).segment
    except LookupError:
        return run_host
