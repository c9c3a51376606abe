"""Skin tone as an estimate from the image: the individual typology angle (ITA) around the lesion.

ITA = arctan2(L* - 50, b*) in degrees, of CIELAB under D65 (Chardon, Cretois and Hourseau 1991, Int.
J. Cosmet. Sci. 13:191): the lighter the skin, the larger. It is an estimate and no measurement:
camera, light, polarisation and white balance move it, so that it orders cases of one calibrated
source, tells little across sources, and is nobody's phototype, ethnicity or race. Skin has a
positive b*: an angle above 90 says that the white balance is off, and hints by how much the other
angles of that source may be.

The angle is that of the median L* and the median b* of the usable pixels: inside the ellipse that
touches the image's edges (a vignette darkens what lies beyond), farther than a margin from the true
mask and from black frames, and neither darker than `DARK` (hair) nor lighter than `BRIGHT`
(reflections).
"""

from dataclasses import replace
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from apple_seg.data import Case, Cohort
from apple_seg.errors import CaseError

ITA_COLUMN = "ita_estimate"

ITA_CUTS = (-30.0, 10.0, 28.0, 41.0, 55.0)
"""Degrees, for `Groups(by={"ita_estimate": ITA_CUTS}, reference="ita_estimate >= 55")`; between
them lie the classes of `ITA_NAMES` (Chardon et al. 1991; in six classes by Del Bino et al. 2006,
Pigment Cell Res. 19:606). A value on a cut belongs to the lighter class here."""

ITA_NAMES = ("dark", "brown", "tan", "intermediate", "light", "very light")
"""The classes from below the first of `ITA_CUTS` to above the last."""

MARGIN = 0.05
"""How far around masks and frames pixels are left out, as a share of the image's shorter side: a
lesion's halo, what the mask missed, and where a frame's edge fades."""

DARK, BRIGHT = 15.0, 95.0
"""L* of pixels that are taken for frames or hair, and for reflections."""

FRAME = 5
"""Dark pixels are a frame where they fill a square of so many pixels, and hair elsewhere."""

LEAST = 0.1
"""The share of an image's pixels that must be usable; below it there is no estimate."""

_SIDE = 256


class ItaEstimate(NamedTuple):
    """A skin tone that was read off an image, and from how much of it."""

    value: float
    """Degrees; NaN where too few pixels are usable."""

    usable: int
    """Pixels, of those looked at."""

    pixels: int
    """Pixels looked at: of a large image every second, third, ... in both directions."""


def ita_estimate(
    image: NDArray[np.float32], mask: NDArray[np.bool_], *, maximum: float = 255.0
) -> ItaEstimate:
    """Estimate the individual typology angle of the skin around a lesion.

    Args:
        image: (3, H, W), sRGB in [0, `maximum`].
        mask: (H, W), or (K, H, W) of which no class is skin.
        maximum: What white is.

    Raises:
        CaseError: The image is not in colour, the mask not on its grid, or a value out of range.
    """
    if image.ndim != 3 or len(image) != 3:
        raise CaseError(
            f"an image of {image.shape} has no skin tone: (3, H, W) in colour is expected"
        )
    if mask.shape[-2:] != image.shape[1:] or mask.ndim not in (2, 3):
        raise CaseError(f"the mask is {mask.shape}, its image {image.shape}: one grid is expected")
    if not (image.min() >= 0 and image.max() <= maximum):
        raise CaseError(
            f"values from {image.min():g} to {image.max():g}, where 0 to {maximum:g} are declared: "
            "pass maximum="
        )
    from skimage.color import rgb2lab

    step = max(1, min(image.shape[1:]) // _SIDE)
    planes = mask.reshape(-1, *image.shape[1:])[:, ::step, ::step]
    lesion: NDArray[np.bool_] = np.logical_or.reduce(planes)
    colours = np.moveaxis(image[:, ::step, ::step], 0, -1) / maximum
    lightness, _, yellow = np.moveaxis(rgb2lab(colours, illuminant="D65"), -1, 0)
    kept = _may_be_skin(lesion, lightness)
    usable = int(kept.sum())
    if usable < LEAST * lesion.size:
        return ItaEstimate(float("nan"), usable, lesion.size)
    above, aside = np.median(lightness[kept]) - 50, np.median(yellow[kept])
    return ItaEstimate(float(np.degrees(np.arctan2(above, aside))), usable, lesion.size)


def with_ita(cohort: Cohort, *, maximum: float = 255.0, progress: bool = True) -> Cohort:
    """Return the cohort with a column `ita_estimate` to group by, NaN where none could be made.

    Every image is read once.

    Args:
        cohort: Annotated cases, in colour.
        maximum: What white is in the files.
        progress: Whether to show a progress bar.

    Raises:
        CaseError: See `ita_estimate`; a case has no mask; or no case has enough usable skin.
    """
    with ThreadPool() as pool:
        found = tqdm(
            pool.imap(partial(_of_case, cohort, maximum), range(len(cohort))),
            "estimating skin tones",
            total=len(cohort),
            disable=None if progress else True,
            leave=False,
        )
        values = np.array([one.value for one in found], dtype=float)
    if not np.isfinite(values).any():
        raise CaseError(
            f"none of {len(cohort)} images has {LEAST:.0%} of usable skin: are these pictures of "
            f"skin, with values from 0 to {maximum:g}?"
        )
    return replace(cohort, table=cohort.table.assign(**{ITA_COLUMN: values}))


def _of_case(cohort: Cohort, maximum: float, index: int) -> ItaEstimate:
    case: Case = cohort[index]
    if case.mask is None:
        raise CaseError(f"{case.key}: has no mask, so that skin and lesion cannot be told apart")
    try:
        return ita_estimate(case.image, case.mask, maximum=maximum)
    except CaseError as error:
        raise CaseError(f"{case.key}: {error}") from error


def _may_be_skin(lesion: NDArray[np.bool_], lightness: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which pixels (H, W) are usable."""
    from scipy.ndimage import binary_opening, distance_transform_edt

    y, x = (np.linspace(-1, 1, size) for size in lesion.shape)
    usable: NDArray[np.bool_] = y[:, None] ** 2 + x**2 <= 1
    usable &= (lightness > DARK) & (lightness < BRIGHT)
    barred = lesion | binary_opening(lightness <= DARK, np.ones((FRAME, FRAME), bool))
    if barred.any():
        distance: NDArray[np.float64] = distance_transform_edt(~barred)
        usable &= distance > MARGIN * min(lesion.shape)
    return usable
