"""Proof at wrap: a hook that does nothing is an error."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from apple_seg.errors import AppleSegError, HostError, SiteError
from apple_seg.host.taps import Tap


class LatentShape(NamedTuple):
    """What was seen at a site."""

    channels: int

    cells: tuple[int, ...]
    """(h, w) or (h, w, d) for the example."""

    calls: int
    """How often the site fired for one image."""

    dtype: torch.dtype


class Runnable(Protocol):
    """The part of a segmentor that the proof needs."""

    host: nn.Module
    segment: Callable[..., Tensor]


def prove(
    segmentor: Runnable, taps: Sequence[Tap], example: Tensor, prompts: Mapping[str, Any]
) -> tuple[LatentShape, ...]:
    """Run `example` and check that each site fires, is read, and is left clean where it must be.

    Raises:
        SiteError: One does not.
        HostError: The host fails on the example, or returns what is no number.
    """

    def run() -> Tensor:
        try:
            logits = segmentor.segment(segmentor.host, example, **prompts)
        except AppleSegError:
            raise
        except Exception as error:
            raise HostError(
                f"{type(segmentor.host).__name__} fails on an image of shape "
                f"{tuple(example.shape)} with prompts {sorted(prompts) or 'none'}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not isinstance(logits, Tensor):
            raise SiteError(f"segment returned a {type(logits).__name__}, not logits")
        return logits

    with torch.no_grad():
        deployed, seen = _watch(run, taps)
        if not torch.isfinite(deployed).all():
            raise HostError(
                "the host's output for the example is not finite; check its weights and input"
            )
        for tap in taps:
            if not seen[tap]:
                raise SiteError(_did_not_fire(segmentor.host, tap, run))
        shapes = tuple(_shape_of(tap, seen[tap]) for tap in taps)
        for tap in taps:
            _check_read(run, tap, deployed)
    return shapes


def _watch(
    run: Callable[[], Tensor], taps: Sequence[Tap]
) -> tuple[Tensor, dict[Tap, list[Tensor]]]:
    """Return the host's output with taps that do nothing, and the latents that passed them."""
    seen: dict[Tap, list[Tensor]] = {tap: [] for tap in taps}

    def watch(tap: Tap) -> nn.Module:
        return _Watch(seen[tap])

    with _perturbers({tap: watch(tap) for tap in taps}):
        return run(), seen


def _shape_of(tap: Tap, latents: list[Tensor]) -> LatentShape:
    latent = latents[0]
    if latent.ndim < 3 or latent.numel() == 0 or not latent.is_floating_point():
        raise SiteError(
            f"{tap.site} holds {tuple(latent.shape)} of {latent.dtype}; a latent is "
            "(N, C, *cells) of floats, with at least one channel"
        )
    return LatentShape(latent.shape[1], tuple(latent.shape[2:]), len(latents), latent.dtype)


def _check_read(run: Callable[[], Tensor], tap: Tap, deployed: Tensor) -> None:
    tap.restored = 0
    with _perturbers({tap: _Noise()}):
        disturbed = run()
    if torch.equal(disturbed, deployed):
        raise SiteError(
            f"noise at {tap.site} does not change the output: nothing reads this tensor. "
            "Name the one that the decoder reads (`apple-seg sites` lists what an adapter knows)"
        )
    if tap.restored < len(tap.site.clean):
        raise SiteError(
            f"{tap.site}: {', '.join(tap.site.clean)} did not receive this very tensor, so the "
            "deeper encoder cannot be kept clean; check the path, or use site.through()"
        )


def _did_not_fire(host: nn.Module, tap: Tap, run: Callable[[], Tensor]) -> str:
    """Say that a site did not fire, and which modules near it do."""
    fired: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: fired.append(name))
        for name, module in host.named_modules()
        if name
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    parts = tap.site.module.split(".")

    def shared(name: str) -> int:
        pairs = zip(parts, name.split("."), strict=False)
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

    near = sorted(dict.fromkeys(fired), key=lambda name: (-shared(name), name.count(".")))
    return (
        f"{tap.site} was not run by {type(host).__name__}: its module is there, but is iterated, "
        "traced, or called by a method other than forward. The nearest modules that are run: "
        + ", ".join(near[:8] or ["none"])
    )


@contextmanager
def _perturbers(chosen: Mapping[Tap, nn.Module]) -> Iterator[None]:
    before = {tap: tap.perturber for tap in chosen}
    for tap, perturber in chosen.items():
        tap.perturber = perturber
    try:
        yield
    finally:
        for tap, perturber in before.items():
            tap.perturber = perturber
            tap.forget()


class _Watch(nn.Module):
    """Note a latent and pass it on."""

    def __init__(self, seen: list[Tensor]) -> None:
        super().__init__()
        self.seen = seen

    def forward(self, latent: Tensor) -> Tensor:
        self.seen.append(latent.detach().clone())
        return latent


class _Noise(nn.Module):
    """Disturb the latent."""

    def forward(self, latent: Tensor) -> Tensor:
        return disturbed(latent)


def disturbed(latent: Tensor) -> Tensor:
    """Return a latent (N, C, *cells) plus noise as large, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(latent.shape, generator=generator).to(latent)
    scale = latent.std() if latent.numel() > 1 else latent.new_ones(())
    return latent + noise * torch.where(scale > 0, scale, torch.ones_like(scale))
