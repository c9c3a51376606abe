"""Find the adapter that knows a host's family."""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol

from torch import Tensor, nn

from apple_seg.errors import AdapterNotFoundError, SiteError
from apple_seg.host.site import Site

GROUP = "apple_seg.adapters"

Segment = Callable[..., Tensor]
"""`segment(host, images, **prompts) -> logits`, with gradients."""


class Adapter(Protocol):
    """What the library must know of a family of hosts.

    A module with these two functions is an adapter; nothing is inherited. It may have a third one,
    `stages(host) -> list[Site]`: what the stages of encoder and decoder hand on, to be perturbed
    for all who read it, the deeper encoder too.
    """

    def sites(self, host: nn.Module) -> list[Site]:
        """Return the sites of `host`: the bottleneck first, then the skips, shallow last."""

    def segment(self, host: nn.Module, images: Tensor, **prompts: Any) -> Tensor:
        """Run `host` on images (N, C, *spatial), with gradients, to logits (N, K, *spatial)."""


def find_adapter(host: nn.Module) -> Adapter:
    """Return the adapter registered for the package that defines the class of `host`.

    An entry point of the group `apple_seg.adapters` is named for a top-level package. Base classes
    are tried too, so a subclass of a known host finds its family's adapter.

    Raises:
        AdapterNotFoundError: No adapter is installed for it, or two claim it.
    """
    for cls in type(host).__mro__:
        package = cls.__module__.partition(".")[0]
        if package == "torch":
            break
        claims = list(entry_points(group=GROUP, name=package))
        if len(claims) > 1:
            values = ", ".join(claim.value for claim in claims)
            raise AdapterNotFoundError(
                f"{len(claims)} adapters claim {package}: {values}. Uninstall all but one."
            )
        if claims:
            adapter: Adapter = claims[0].load()
            return adapter
    known = ", ".join(sorted(entry_points(group=GROUP).names))
    raise AdapterNotFoundError(
        f"no adapter for {type(host).__module__}.{type(host).__qualname__}; installed "
        f"adapters serve: {known}. Pass sites=[Site(...)] to name its latents yourself."
    )


def choose_sites(host: nn.Module, which: str | Site | Sequence[Site]) -> tuple[Site, ...]:
    """Return the sites that `which` names.

    Args:
        host: The host whose adapter is asked.
        which: "bottleneck", "skips", "all" (both), "stages" (what every stage of encoder and
            decoder hands on, to whoever reads it), or sites, which are returned as they are.

    Raises:
        SiteError: The host has none of that kind.
    """
    if isinstance(which, Site):
        return (which,)
    if not isinstance(which, str):
        chosen = tuple(which)
    else:
        adapter = find_adapter(host)
        known = adapter.sites(host)
        kinds: Mapping[str, Callable[[], Sequence[Site]]] = {
            "bottleneck": lambda: known[:1],
            "skips": lambda: known[1:],
            "all": lambda: known,
            "stages": lambda: _stages(adapter, host),
        }
        if which not in kinds:
            names = ", ".join(map(repr, kinds))
            raise SiteError(f"sites are {names} or a list; got {which!r}")
        chosen = tuple(kinds[which]())
    if not chosen:
        raise SiteError(f"{type(host).__name__} has no sites called {which!r}")
    if foreign := [one for one in chosen if not isinstance(one, Site)]:
        raise SiteError(f"a site is Site(module, io=, item=), got {foreign[0]!r}")
    if len({(one.module, one.io, one.item) for one in chosen}) < len(chosen):
        raise SiteError(f"a site is named twice among {', '.join(map(str, chosen))}")
    return chosen


def _stages(adapter: Adapter, host: nn.Module) -> list[Site]:
    """Return the adapter's stages, or its sites such that the deeper encoder reads them too."""
    stages: Callable[[nn.Module], list[Site]] | None = getattr(adapter, "stages", None)
    if stages is not None:
        return stages(host)
    return [site.through() for site in adapter.sites(host)]


def run_host(host: nn.Module, images: Tensor, **prompts: Any) -> Tensor:
    """Call a host that no adapter knows, as it is.

    Raises:
        SiteError: It returns something other than logits.
    """
    logits = host(images, **prompts)
    if not isinstance(logits, Tensor):
        raise SiteError(
            f"{type(host).__name__} returns a {type(logits).__name__}, not logits; "
            "pass segment=, a function (host, images, **prompts) -> logits (N, K, *spatial)"
        )
    return logits
