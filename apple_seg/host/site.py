"""Where a host's latent is read and replaced."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from torch import Tensor, nn

from apple_seg.errors import SiteError

Io = Literal["input", "output"]


@dataclass(frozen=True)
class Site:
    """One tensor that goes into, or comes out of, one submodule.

    `Site("image_encoder")` is all that SAM's image encoder returns, `Site("encoder", item=-1)` the
    last of the feature maps that a U-Net's does, `Site("", io="input")` the image itself.
    """

    module: str
    """Path of the submodule, as `torch.nn.Module.get_submodule` takes it; "" is the host."""

    io: Io = "output"
    """Whether the latent goes into the submodule or comes out of it."""

    item: int | str | None = None
    """Index or key of the latent in the output (or among the inputs, keywords by name); None where
    it is the whole output (or the first input)."""

    clean: tuple[str, ...] = ()
    """Submodules that go on reading the latent as it was. Where one tensor feeds both a skip
    and the deeper encoder, this names the deeper encoder: only the decoder is to be perturbed."""

    axis: int = 1
    """Where the latent has its channels: -1 for a transformer's tokens, (N, T, C) or (N, h, w, C).
    Perturbers and objectives get them as (N, C, *cells) all the same."""

    def __str__(self) -> str:
        item = "" if self.item is None else f"[{self.item!r}]"
        io = ".input" if self.io == "input" else ""
        axis = "" if self.axis == 1 else f" (channels at {self.axis})"
        return f"{self.module or '(host)'}{io}{item}{axis}"

    def through(self) -> Self:
        """Return this site such that the deeper encoder reads the perturbed latent too."""
        return replace(self, clean=())

    def module_in(self, host: nn.Module) -> nn.Module:
        """Return the submodule of `host` that this site names.

        Raises:
            SiteError: The host has no such submodule.
        """
        return submodule(host, self.module)

    def read(self, value: Any) -> Tensor:
        """Return the latent in `value`: an output, or `(args, kwargs)` where `io` is "input".

        Raises:
            SiteError: There is no such item, or it is not a tensor.
        """
        try:
            latent = self._pick(value)
        except (IndexError, KeyError, TypeError) as error:
            raise SiteError(f"{self} is not in {self._describe(value)}") from error
        if not isinstance(latent, Tensor):
            raise SiteError(
                f"{self} holds {describe(latent)}, not a tensor; name the item of it, e.g. item=-1"
            )
        return latent

    def replace(self, value: Any, latent: Tensor) -> Any:
        """Return a copy of `value`, of the same type, with `latent` in the latent's place."""
        if self.io == "output":
            return latent if self.item is None else replace_item(value, self.item, latent)
        args, kwargs = value
        if isinstance(self.item, str):
            return args, replace_item(kwargs, self.item, latent)
        return replace_item(args, self.item or 0, latent), kwargs

    def _pick(self, value: Any) -> Any:
        if self.io == "output":
            return value if self.item is None else value[self.item]
        args, kwargs = value
        return kwargs[self.item] if isinstance(self.item, str) else args[self.item or 0]

    def _describe(self, value: Any) -> str:
        if self.io == "output":
            return describe(value)
        args, kwargs = value
        return f"{len(args)} positional inputs and keywords {sorted(kwargs)}"


def submodule(host: nn.Module, path: str) -> nn.Module:
    """Return the submodule of `host` at `path`, or say which there are.

    Raises:
        SiteError: There is none.
    """
    try:
        return host.get_submodule(path)
    except AttributeError as error:
        parent, known = host, ""
        for name in path.split("."):
            if name not in dict(parent.named_children()):
                break
            parent, known = parent.get_submodule(name), f"{known}{name}."
        children = ", ".join(f"{known}{name}" for name, _ in parent.named_children()) or "none"
        raise SiteError(
            f"{type(host).__name__} has no submodule {path!r}; nearest are: {children}"
        ) from error


def replace_item(container: Any, item: int | str, value: Any) -> Any:
    """Return a copy of a list, tuple, named tuple or mapping with one item replaced."""
    if isinstance(container, Mapping):
        changed = copy.copy(container)
        changed[item] = value  # type: ignore[index]
        return changed
    items = list(container)
    items[int(item)] = value
    return type(container)(*items) if hasattr(container, "_fields") else type(container)(items)


def describe(value: Any) -> str:
    """Say what a submodule returned."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with keys {sorted(map(str, value))}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
