"""MONAI networks that nest their levels: `UNet` and `AttentionUnet`."""

from typing import Any

from torch import Tensor, nn

from apple_seg.errors import SiteError
from apple_seg.host import Site

_NESTED = {"UNet", "AttentionUnet"}


def sites(host: nn.Module) -> list[Site]:
    """Walk down the nested levels; each skip is what its level's first block hands on.

    One tensor feeds the skip and the deeper encoder: the latter goes on reading it clean.
    """
    known = [cls.__name__ for cls in type(host).__mro__]
    if not _NESTED & set(known):
        names = ", ".join(sorted(_NESTED))
        raise SiteError(f"no sites known of monai's {known[0]}, only of {names}; pass sites=[...]")
    levels = _levels(host)
    bottleneck = Site(f"{levels[-1]}.submodule")
    skips = [Site(_before(level), clean=(f"{level}.submodule",)) for level in levels]
    return [bottleneck, *reversed(skips)]


def stages(host: nn.Module) -> list[Site]:
    """Add what each stage of the decoder hands up; what the last one does are the logits."""
    ups = [Site(_joined(host, level)) for level in reversed(_levels(host)[1:])]
    return [*(site.through() for site in sites(host)), *ups]


def segment(host: nn.Module, images: Tensor, **prompts: Any) -> Tensor:
    """Run the network as it is."""
    logits: Tensor = host(images, **prompts)
    return logits


def _levels(host: nn.Module) -> list[str]:
    """Return the paths of the modules that hold a skip, shallow first."""
    names = [name for name, _ in host.named_modules() if name.endswith(".submodule")]
    nested = [name.removesuffix(".submodule") for name in names]
    return sorted(nested, key=lambda name: name.count("."))


def _joined(host: nn.Module, level: str) -> str:
    """Return the path of the block that joins a level's skip and what comes up."""
    if hasattr(host.get_submodule(level), "merge"):  # AttentionUnet merges inside the level
        return f"{level}.merge"
    parent, _, place = level.rpartition(".")
    return f"{parent}.{int(place) + 1}"


def _before(level: str) -> str:
    """Return the path of the block that runs before a level in its Sequential."""
    parent, _, place = level.rpartition(".")
    return f"{parent}.{int(place) - 1}"
