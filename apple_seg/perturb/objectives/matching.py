"""Terms that ask the groups' latents to be alike, without an adversary.

Each is of the whole batch, of the cases of known group, summed over attributes; None where no
attribute has two groups with two such cases each. What is compared is standardised by the cases
that are compared.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from apple_seg.errors import ConfigError
from apple_seg.perturb.objectives.kernels import (
    alignment,
    gaussian,
    mmd,
    squared_distances,
    standardised,
)
from apple_seg.perturb.objectives.objective import Term
from apple_seg.perturb.objectives.outcome import Attribute, Outcome

Difference = Callable[[Tensor, Attribute], Tensor]
"""Features (n, F) of cases that are all of known group, and those, to one number."""

SCALES = (0.5, 0.7071, 1.0, 1.4142, 2.0)
"""Of MMD's kernels, in median distances."""


def hsic(_channels: Sequence[int], _sizes: Sequence[int], _numbers: int = 0) -> Term:
    """Ask pooled latents to be independent of the attribute: their normalised HSIC.

    `HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))`, also known as CKA: K a Gaussian kernel of the
    pooled latents whose width is their median distance, L 1 within a group and 0 between (Gretton
    et al. 2005; as a loss that keeps a sensitive attribute out of a predictor: Perez-Suay et al.
    2017, arXiv 1710.05578). Each number adds the same with a Gaussian kernel of it. The numerator
    is the unbiased estimate, the normaliser the biased: see `kernels.alignment`. That K is
    standardised, and the two estimates together, is decided here.
    """

    def term(outcome: Outcome) -> Tensor | None:
        found = by_attribute(outcome.pooled, outcome.attributes, _alignment)
        for number in outcome.every_number.unbind(1):
            known = number[number.isfinite()]
            if len(known) >= 4 and bool(known.min() < known.max()):
                ours = _kernel(outcome.pooled[number.isfinite()])
                found.append(alignment(ours, gaussian(squared_distances(known[:, None]))))
        return _sum(found)

    return term


def mmd_term(_channels: Sequence[int], _sizes: Sequence[int], _numbers: int = 0) -> Term:
    """Ask each group's pooled latents to be distributed as those of the rest: their squared MMD.

    The unbiased estimate (Gretton et al. 2012, equation 3) with the mean of five Gaussian kernels,
    of half to twice the median distance; the mean over groups. Widths are decided here. It does
    not heed numbers.
    """
    return _matching(_discrepancy)


def moments(_channels: Sequence[int], _sizes: Sequence[int], _numbers: int = 0) -> Term:
    """Ask each group's pooled latents to have the mean and deviation of the rest.

    `mean over channels of (mean_g - mean_rest)^2 + (sd_g - sd_rest)^2`, the mean over groups: the
    plain beginning of distribution matching, blind to what channels do together. It is not 0 for
    groups that are alike but small, by about `1 / n_g + 1 / n_rest`. It does not heed numbers.
    """
    return _matching(_moments)


def class_moments(_channels: Sequence[int], _sizes: Sequence[int], _numbers: int = 0) -> Term:
    """Ask each class to look alike on average, inside and outside its true mask.

    Instead of pooled latents there are each channel's mean over the cells inside the mask, and
    over those outside; the term is `mean over channels of (mean_g - mean_rest)^2` of these, the
    mean over groups, classes and sides. So groups may differ in how large their lesions are, which
    pooling over all cells would punish, as long as lesions look alike. Deviations between cases
    are left out for the same reason: a mean over fewer cells varies more. Masks come to a site's
    cells by their area in each; a cell on the rim counts for both sides by its share, so that of
    lesions of a few cells something of their size remains. Cases without a class, or with nothing
    else, count for the one side that they have. Decided here, all of it.

    Raises:
        ConfigError: When used: a site has no cells that masks could be brought to (tokens).
    """

    def term(outcome: Outcome) -> Tensor | None:
        found = []
        sides, there = _sides(outcome)
        for features, known in zip(sides.unbind(1), there.unbind(1), strict=True):
            values = by_attribute(features, outcome.attributes, _means, among=known)
            if values:
                found.append(torch.stack(values).sum())
        return torch.stack(found).mean() if found else None

    return term


def by_attribute(
    features: Tensor,
    attributes: Sequence[Attribute],
    difference: Difference,
    *,
    among: Tensor | None = None,
) -> list[Tensor]:
    """Return the difference by each attribute that has two groups with two cases among (N,)."""
    found = []
    for one in attributes:
        rows = one.known if among is None else one.known & among
        codes = Attribute(one.codes[rows], one.groups)
        if len(_groups(codes)) > 1:
            found.append(difference(features[rows], codes))
    return found


def _matching(difference: Difference) -> Term:
    def term(outcome: Outcome) -> Tensor | None:
        return _sum(by_attribute(outcome.pooled, outcome.attributes, difference))

    return term


def _alignment(features: Tensor, attribute: Attribute) -> Tensor:
    same = attribute.codes[:, None] == attribute.codes
    return alignment(_kernel(features), same.to(features.dtype))


def _discrepancy(features: Tensor, attribute: Attribute) -> Tensor:
    kernel = gaussian(squared_distances(standardised(features)), SCALES)
    return torch.stack([mmd(kernel, inside) for inside in _groups(attribute)]).mean()


def _moments(features: Tensor, attribute: Attribute) -> Tensor:
    values, found = standardised(features), []
    for inside in _groups(attribute):
        deviations = _deviation(values[inside]) - _deviation(values[~inside])
        found.append((_shift(values, inside).square() + deviations.square()).mean())
    return torch.stack(found).mean()


def _means(features: Tensor, attribute: Attribute) -> Tensor:
    values = standardised(features)
    shifts = [_shift(values, inside) for inside in _groups(attribute)]
    return torch.stack(shifts).square().mean()


def _shift(values: Tensor, inside: Tensor) -> Tensor:
    """Return how far the mean (F,) of some cases lies above that of the others."""
    return values[inside].mean(0) - values[~inside].mean(0)


def _deviation(values: Tensor) -> Tensor:
    """Return the standard deviation (F,), with a gradient where it is 0."""
    return (values.var(0, unbiased=False) + 1e-8).sqrt()


def _groups(attribute: Attribute) -> list[Tensor]:
    """Return who is in it (n,) of each group with two cases."""
    inside = [attribute.codes == code for code in range(attribute.groups)]
    return [one for one in inside if int(one.sum()) > 1]


def _kernel(pooled: Tensor) -> Tensor:
    return gaussian(squared_distances(standardised(pooled)))


def _sum(found: Sequence[Tensor]) -> Tensor | None:
    return torch.stack(list(found)).sum() if found else None


def _sides(outcome: Outcome) -> tuple[Tensor, Tensor]:
    """Return channel means (N, 2K, channels of all sites) in and outside masks; which there are.

    Both are gathered. Which there are: (N, 2K), whether a case has such a side.
    """
    masks = _whole_masks(outcome)
    means = torch.cat([side_means(latent, masks) for latent in outcome.latents], 2)
    inside = masks.flatten(2).amax(2) > 0
    outside = masks.flatten(2).amin(2) < 1
    there = torch.cat([inside, outside], 1)
    return outcome.gather(means), outcome.gather(there)


def _whole_masks(outcome: Outcome) -> Tensor:
    """Return the masks (N, K, *grid) on the host's whole grid, where latents are."""
    masks = outcome.masks.float()
    missing = [
        whole - here for whole, here in zip(outcome.whole or (), masks.shape[2:], strict=False)
    ]
    return functional.pad(masks, [pad for one in reversed(missing) for pad in (0, one)])


def side_means(latent: Tensor, masks: Tensor) -> Tensor:
    """Return each channel's mean in (N, K, C) and outside masks (N, K, *grid), joined: (N, 2K, C).

    0 where a side has no cells.
    """
    cells = latent.shape[2:]
    if len(cells) != masks.ndim - 2:
        raise ConfigError(
            f"class-moments needs latents with cells as masks have pixels; a site gives "
            f"{tuple(latent.shape)} for masks {tuple(masks.shape)}: leave the site out"
        )
    shares = functional.interpolate(masks, size=cells, mode="area").flatten(2)
    weights = torch.cat([shares, 1 - shares], 1)
    sums = weights @ latent.float().flatten(2).transpose(1, 2)
    return sums / weights.sum(2, keepdim=True).clamp_min(1e-6)
