"""How alike cases are, and what their likeness says: HSIC and MMD."""

from collections.abc import Sequence

import torch
from torch import Tensor


def standardised(values: Tensor) -> Tensor:
    """Return features (N, F) in deviations of these cases, with gradients through both moments.

    So what is made of them stays the same where a channel is merely shifted or scaled.
    """
    centred = values - values.mean(0)
    return centred / (centred.square().mean(0) + 1e-8).sqrt()


def squared_distances(values: Tensor) -> Tensor:
    """Return (N, N) squared distances between rows (N, F)."""
    norms = values.square().sum(1)
    return (norms[:, None] + norms - 2 * values @ values.T).clamp_min(0)


def gaussian(distances: Tensor, scales: Sequence[float] = (1.0,)) -> Tensor:
    """Return the mean over scales of `exp(-d^2 / (2 (scale * s)^2))` for squared distances (N, N).

    s is the median distance between different cases (the lower one, of an even number), without
    a gradient: the perturber cannot win by changing the ruler.
    """
    pairs = torch.ones_like(distances).triu(1).bool()
    typical = distances.detach()[pairs].median().clamp_min(1e-12)
    return torch.stack([(-distances / (2 * scale**2 * typical)).exp() for scale in scales]).mean(0)


def hsic(first: Tensor, second: Tensor) -> Tensor:
    """Return the unbiased HSIC of two kernels (N, N) of the same cases, N of 4 or more.

    Song et al. 2012 (JMLR 13:1393), equation 4: without diagonals, so that its mean is 0 where
    the two are independent, and it may then be negative.
    """
    n = len(first)
    apart = 1 - torch.eye(n, dtype=first.dtype, device=first.device)
    k, l = first * apart, second * apart  # noqa: E741
    cross = (k @ l).sum() / (n - 2)
    sums = k.sum() * l.sum() / ((n - 1) * (n - 2))
    return ((k * l).sum() + sums - 2 * cross) / (n * (n - 3))


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Return HSIC of two kernels (N, N), normalised by their own: 0 independent, 1 the same.

    The normaliser is the biased form, `sum((HKH)^2) / (n - 1)^2`, which is never 0 unless all
    cases are alike; the unbiased form may be negative where there are few cases.
    """
    norms = [_centred(one).square().sum() / (len(one) - 1) ** 2 for one in (first, second)]
    return hsic(first, second) / (norms[0] * norms[1]).clamp_min(1e-20).sqrt()


def mmd(kernel: Tensor, inside: Tensor) -> Tensor:
    """Return the unbiased squared MMD between cases inside (N,) and outside, two of each or more.

    Gretton et al. 2012 (JMLR 13:723), equation 3; its mean is 0 where both are alike.
    """
    ours, theirs = kernel[inside][:, inside], kernel[~inside][:, ~inside]
    return _apart(ours) + _apart(theirs) - 2 * kernel[inside][:, ~inside].mean()


def _apart(kernel: Tensor) -> Tensor:
    """Return the mean likeness of different cases."""
    n = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (n * (n - 1))


def _centred(kernel: Tensor) -> Tensor:
    return kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
