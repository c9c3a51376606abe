"""The hooks: what happens at a site while a host runs."""

from dataclasses import dataclass
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from apple_seg.errors import SiteError
from apple_seg.host.site import Site, submodule


@dataclass
class Dial:
    """What all taps of one host share."""

    enabled: bool = True
    strength: float = 1.0
    recording: bool = False


class Tap:
    """One site of one host, hooked.

    The perturber runs in float32 (or better, where the host is), outside autocast; what comes back
    to the host has the dtype that the latent had.
    """

    def __init__(self, site: Site, dial: Dial) -> None:
        self.site = site
        self.perturber: nn.Module = nn.Identity()
        self.latents: list[Tensor] = []
        """What the decoder got, a tensor a call, while the dial says to record."""
        self.copies = False
        """Whether what is recorded has to be a copy: the decoder works in place on its input."""
        self._versions: list[int] = []
        self.restored = 0
        """How often a submodule of `site.clean` was given the clean latent back."""
        self._dial = dial
        self._pairs: dict[int, _Pair] = {}  # by thread: a host may serve several
        self._handles: list[RemovableHandle] = []

    def attach(self, host: nn.Module) -> None:
        """Register the hooks; nothing is registered where a path of the site is wrong."""
        module = self.site.module_in(host)
        readers = [submodule(host, path) for path in self.site.clean]
        if self.site.io == "output":
            self._handles.append(module.register_forward_hook(self._on_output))
        else:
            handle = module.register_forward_pre_hook(self._on_input, with_kwargs=True)
            self._handles.append(handle)
        for reader in readers:
            handle = reader.register_forward_pre_hook(self._on_clean_reader, with_kwargs=True)
            self._handles.append(handle)

    def detach(self) -> None:
        """Remove the hooks and let go of every tensor."""
        while self._handles:
            self._handles.pop().remove()
        self.forget()

    def forget(self) -> None:
        """Let go of the latents of the last call."""
        self.latents, self._versions = [], []
        self._pairs.clear()

    def overwritten(self) -> bool:
        """Say whether a latent of the last call has been changed since it was recorded."""
        pairs = zip(self.latents, self._versions, strict=True)
        return not self.copies and any(
            not latent.is_inference() and latent._version != seen for latent, seen in pairs
        )

    def _on_output(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        return self.site.replace(output, self._perturb(self.site.read(output)))

    def _on_input(self, _module: nn.Module, args: Any, kwargs: Any) -> Any:
        value = (args, kwargs)
        return self.site.replace(value, self._perturb(self.site.read(value)))

    def _on_clean_reader(self, _module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Give back the clean latent where the perturbed one arrives, known by identity."""
        pair = self._pairs.get(get_ident())
        if pair is None:
            return None
        swapped = tuple(pair.clean if value is pair.perturbed else value for value in args)
        named = {k: pair.clean if v is pair.perturbed else v for k, v in kwargs.items()}
        if any(new is not old for new, old in zip(swapped, args, strict=True)) or any(
            named[key] is not kwargs[key] for key in kwargs
        ):
            self.restored += 1
            pair.readers += 1
            if pair.readers == len(self.site.clean):
                self._pairs.pop(get_ident(), None)
        return swapped, named

    def _perturb(self, latent: Tensor) -> Tensor:
        perturbed = self._apply(latent) if self._dial.enabled else latent
        if self._dial.recording:
            perturbed = self._record(perturbed, untouched=perturbed is latent)
        if self.site.clean and perturbed is not latent:
            self._pairs[get_ident()] = _Pair(latent, perturbed)
        return perturbed

    def _record(self, perturbed: Tensor, *, untouched: bool) -> Tensor:
        """Keep what the decoder gets, and return what is to be handed on."""
        if self.copies or perturbed.is_inference():  # inference tensors count no versions
            kept = perturbed.clone()
            self.latents.append((kept if untouched else perturbed).movedim(self.site.axis, 1))
            self._versions.append(0)
            return perturbed if untouched else kept
        self.latents.append(perturbed.movedim(self.site.axis, 1))  # a view: it counts versions too
        self._versions.append(perturbed._version)
        return perturbed

    def _apply(self, latent: Tensor) -> Tensor:
        strength = self._dial.strength
        if strength == 0 or isinstance(self.perturber, nn.Identity):
            return latent
        clean = latent.clone() if latent.is_inference() and torch.is_grad_enabled() else latent
        clean = clean.to(torch.promote_types(clean.dtype, torch.float32))
        clean = self._channels_second(clean)
        match_to(self.perturber, clean)
        with torch.autocast(clean.device.type, enabled=False):
            perturbed: Tensor = self.perturber(clean)
            if strength != 1:
                perturbed = torch.lerp(clean, perturbed, strength)
        return perturbed.movedim(1, self.site.axis).to(latent.dtype)

    def _channels_second(self, latent: Tensor) -> Tensor:
        axis = self.site.axis
        if axis % latent.ndim == 0 or not -latent.ndim < axis < latent.ndim:
            raise SiteError(
                f"{self.site} holds {tuple(latent.shape)}, which has no channels at axis {axis}: "
                "1 where they come second, -1 where they come last"
            )
        return latent.movedim(axis, 1)


@dataclass
class _Pair:
    """A latent and what replaced it, until every clean reader has had the former back."""

    clean: Tensor
    perturbed: Tensor
    readers: int = 0


def match_to(module: nn.Module, latent: Tensor) -> None:
    """Move a perturber to the device and dtype of the latents, where the host has moved."""
    parameter = next(module.parameters(), None)
    if parameter is not None and (parameter.device, parameter.dtype) != (
        latent.device,
        latent.dtype,
    ):
        with torch.inference_mode(False):  # else they could not be trained afterwards
            module.to(device=latent.device, dtype=latent.dtype)
