"""What is trained and shipped: modules that map a latent to one of the same shape."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from apple_seg.perturb.perturbers.affine import AffinePerturber
from apple_seg.perturb.perturbers.erasure import Rows, Solvable
from apple_seg.perturb.perturbers.leace import LeacePerturber
from apple_seg.perturb.perturbers.lean import LeanPerturber
from apple_seg.perturb.perturbers.moments import StatisticsPerturber
from apple_seg.perturb.perturbers.noise import RandomPerturber
from apple_seg.perturb.perturbers.residual import ResidualPerturber
from apple_seg.perturb.perturbers.standardise import StandardisePerturber
from apple_seg.perturb.perturbers.tokens import TokenPerturber

PERTURBERS: Mapping[str, Callable[..., nn.Module]] = {
    "residual": ResidualPerturber,
    "lean": LeanPerturber,
    "affine": AffinePerturber,
    "tokens": TokenPerturber,
    "leace": LeacePerturber,
    "statistics": StatisticsPerturber,
    "standardise": StandardisePerturber,
    "random": RandomPerturber,
}
"""The perturbers that a file may name; each takes what its `config` holds: the
latent's channels, its cells as a keyword, and options."""

SOLVED = frozenset(name for name, make in PERTURBERS.items() if hasattr(make, "solve"))
"""Those that are set at once and not trained by steps: `Solvable`."""


def describe_perturber(perturber: nn.Module) -> dict[str, Any]:
    """Return what `build_perturber` needs to make one of the same shape.

    Raises:
        TypeError: It is none of `PERTURBERS`.
    """
    for name, make in PERTURBERS.items():
        if make is type(perturber):
            return {"name": name, **perturber.config}  # type: ignore[dict-item]
    known = ", ".join(PERTURBERS)
    raise TypeError(f"a {type(perturber).__name__} cannot be saved; known perturbers are: {known}")


def build_perturber(description: Mapping[str, Any]) -> nn.Module:
    """Make a new perturber, the identity, from its description.

    Raises:
        ValueError: The description names none of `PERTURBERS`.
        ConfigError: One of its options is out of range.
    """
    rest = dict(description)
    name = rest.pop("name", None)
    if name not in PERTURBERS:
        raise ValueError(f"no perturber called {name!r}; known are: {', '.join(PERTURBERS)}")
    return PERTURBERS[name](rest.pop("channels"), **rest)


__all__ = [
    "PERTURBERS",
    "SOLVED",
    "AffinePerturber",
    "LeacePerturber",
    "LeanPerturber",
    "RandomPerturber",
    "ResidualPerturber",
    "Rows",
    "Solvable",
    "StandardisePerturber",
    "StatisticsPerturber",
    "TokenPerturber",
    "build_perturber",
    "describe_perturber",
]
