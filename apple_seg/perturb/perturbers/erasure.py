"""The affine map, in closed form, after which no linear probe reads a concept."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from apple_seg.errors import ConfigError, MissingExtraError

_TOLERANCE = 1e-4
"""Correlations below this are rounding: one-hot columns depend on each other."""

_ESTIMATED = "ledoit-wolf"


class Rows(NamedTuple):
    """What is known of the train cases at one site; in float64, on the CPU."""

    pooled: Tensor
    """(N, 2C), each channel's mean and standard deviation over cells."""

    concepts: Tensor
    """(N, K), what is to be taken out: standardised, 0 where unknown."""


class Solvable(Protocol):
    """A perturber that is set at once, not by steps."""

    def solve(self, rows: Callable[[], Rows]) -> None:
        """Set the weights; `rows` runs the host on all train cases when it is first called."""


class Erasure(NamedTuple):
    """`x - left @ right @ (x - centre)`."""

    left: Tensor
    """(D, rank)"""

    right: Tensor
    """(rank, D)"""

    centre: Tensor
    """(D,)"""


@dataclass(frozen=True, kw_only=True)
class ErasureSettings:
    """How the map is estimated; the options of `leace` and `statistics`."""

    rank: int
    shrinkage: float | str
    ridge: float

    def __post_init__(self) -> None:
        amount = self.shrinkage
        known = amount == _ESTIMATED if isinstance(amount, str) else 0 <= amount <= 1
        if not (known and self.rank >= 1 and 0 <= self.ridge < math.inf):
            raise ConfigError(
                f"rank is 1 at least, shrinkage from 0 to 1 or {_ESTIMATED!r}, ridge not negative; "
                f"got rank={self.rank}, shrinkage={amount!r}, ridge={self.ridge}"
            )


class ErasureMap(nn.Module):
    """What is added to vectors so that a concept is gone from them; nothing before it is solved.

    Args:
        size: Entries of a vector.
        settings: How it is estimated.
    """

    def __init__(self, size: int, settings: ErasureSettings) -> None:
        super().__init__()
        self.settings = settings
        # Parameters, not buffers: replay's check changes those to see that it can fail, and a host
        # that moves takes those along. They have no gradient.
        self.left = nn.Parameter(torch.zeros(size, settings.rank), requires_grad=False)
        self.right = nn.Parameter(torch.zeros(settings.rank, size), requires_grad=False)
        self.centre = nn.Parameter(torch.zeros(size), requires_grad=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the change of vectors (N, D, M), M of them a case."""
        change: Tensor = self.left @ (self.right @ (self.centre[:, None] - vectors))
        return change

    @torch.no_grad()
    def solve(self, vectors: Tensor, concepts: Tensor) -> None:
        """Set the weights; what there is room for and no need is zero.

        Raises:
            ConfigError: The concepts need more directions than there is room for.
            MissingExtraError: `concept-erasure` is not installed.
        """
        left, right, centre = erase(vectors, concepts, self.settings)
        self.left.zero_()[:, : left.shape[1]] = left
        self.right.zero_()[: len(right)] = right
        self.centre.copy_(centre)


def erase(vectors: Tensor, concepts: Tensor, settings: ErasureSettings) -> Erasure:
    """Return the map that takes the concepts out of vectors and changes them least.

    LEACE (Belrose et al., arXiv 2306.03819, theorem 4.3), solved by `concept-erasure` on vectors
    that are standardised first. Its own shrinkage is not used: 0.2.4 may return a covariance that
    has negative eigenvalues, where the entries hardly correlate; and not its bound on the trace,
    which can only act on rounding, and whose factors do not multiply to the map.

    Args:
        vectors: (N, D), float64.
        concepts: (N, K), float64, each of mean 0.
        settings: How to estimate it.

    Raises:
        ConfigError: The concepts need more directions than there is room for.
        MissingExtraError: `concept-erasure` is not installed.
    """
    centre, scale = vectors.mean(0), vectors.std(0, correction=0)
    scale = torch.where(scale > 1e-9 * (1 + centre.abs()), scale, torch.ones_like(scale))
    standard = (vectors - centre) / scale
    targets = torch.cat([concepts, concepts], 1) if settings.ridge else concepts
    fitter = _fitter()(
        vectors.shape[1],
        targets.shape[1],
        dtype=torch.float64,
        shrinkage=False,
        constrain_cov_trace=False,
        svd_tol=_TOLERANCE,
    ).update(standard, targets)
    if settings.ridge:
        _add_ridge(fitter.sigma_xz_, fitter.sigma_xx, settings.ridge)
    fitter.sigma_xx_ = _shrunk(fitter.sigma_xx_, standard, settings.shrinkage)
    left, right = fitter.eraser.proj_left, fitter.eraser.proj_right
    needed = int(right.any(1).sum())  # the strongest come first; those left out are zeros
    if needed > settings.rank:
        raise ConfigError(
            f"the groups need {needed} directions to be taken out, and the perturber has room for "
            f"{settings.rank}; set its rank"
        )
    return Erasure(scale[:, None] * left[:, :needed], right[:needed] / scale, centre)


def _fitter() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # it compiles parts that are not used
            from concept_erasure import LeaceFitter
    except ModuleNotFoundError as missing:
        raise MissingExtraError(
            f"a closed form needs {missing.name}: pip install 'apple-seg[workbench]'"
        ) from missing
    return LeaceFitter


def _add_ridge(cross: Tensor, covariance: Tensor, ridge: float) -> None:
    """Make the second half of the columns (D, 2K) what a ridge leaves of them, in place."""
    variances, axes = torch.linalg.eigh(covariance)
    kept = variances.clamp_min(0) / (variances.clamp_min(0) + ridge)
    half = cross.shape[1] // 2
    cross[:, half:] = axes @ (kept[:, None] * (axes.mH @ cross[:, half:]))


def _shrunk(scatter: Tensor, vectors: Tensor, amount: float | str) -> Tensor:
    """Return a scatter matrix drawn towards that of vectors whose entries do not correlate."""
    if isinstance(amount, str):
        from sklearn.covariance import ledoit_wolf_shrinkage

        amount = float(ledoit_wolf_shrinkage(vectors.numpy(), assume_centered=True))
    mean = scatter.trace() / len(scatter)
    return (1 - amount) * scatter + amount * mean * torch.eye(len(scatter), dtype=scatter.dtype)
