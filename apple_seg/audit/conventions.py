"""The numbers of other tools by their own names, to be set beside what they print.

They are point estimates, with no word on how much of them is chance: shown for comparison, never
used for a verdict. Where two tools give one name to two things, the tool's name tells them apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apple_seg.audit.cases import SIZES, per_case
from apple_seg.measure import apply_policy

NAN = float("nan")


class Description(NamedTuple):
    """What a reader must know of a convention, in sentences."""

    source: str
    formulas: str
    """D is the mean of all cases, D_g that of group g."""

    left_out: str
    """What becomes of NaN scores and of cases of unknown group."""

    empties: str


@dataclass(frozen=True, kw_only=True)
class Convention:
    """What a tool would print of these cases."""

    name: str
    """A key of `CONVENTIONS`."""

    figures: Mapping[str, float]
    """By the tool's own names; NaN where they are not defined."""

    by_group: Mapping[str, float]
    """The means D_g that they rest on; NaN where a group has no case."""

    n_cases: int
    """Cases that the overall mean D rests on."""

    n_grouped: int
    """Cases that the group means rest on."""

    @property
    def description(self) -> Description:
        """Where it comes from and what it does with what is empty, NaN or unknown."""
        return CONVENTIONS[self.name]


CONVENTIONS: Mapping[str, Description] = {
    "fairmedfm": Description(
        source="FairMedFM (Jin et al. 2024), the package fairmedfm, evaluate_segmentation",
        formulas="delta = max D_g - min D_g, skewness = (1 - min D_g) / (1 - max D_g), std of D_g "
        "(ddof 0), es = D / (1 + std)",
        left_out="NaN scores are left out, and cases of unknown group are out of D too.",
        empties="both empty: 1; only one empty: 0",
    ),
    "fairseg": Description(
        source="FairSeg (Tian et al., ICLR 2024), its SAMed evaluation",
        formulas="es = D / (1 + sum over g of |D_g - D|), es_std = D / (1 + std of D_g, ddof 1)",
        left_out="Cases of unknown group are in D and in no D_g. No score is NaN there; one that "
        "is makes its means NaN.",
        empties="prediction empty: 0, whatever the truth; only the truth empty: 1, HD95 0",
    ),
    "fairlearn": Description(
        source="fairlearn, MetricFrame of numpy.nanmean",
        formulas="difference = max D_g - min D_g, ratio = min D_g / max D_g",
        left_out="NaN scores are left out, and cases of unknown group are out of D too: it refuses "
        "them.",
        empties="as the audit's policy has them",
    ),
    "ser": Description(
        source="Puyol-Antón et al. 2021 (MICCAI), the skewed error ratio",
        formulas="ser = max (1 - D_g) / min (1 - D_g)",
        left_out="NaN scores and cases of unknown group are left out.",
        empties="as the audit's policy has them",
    ),
}


def convention(
    name: str, dice: NDArray[Any], codes: NDArray[Any], *, labels: Sequence[str]
) -> Convention:
    """Return a tool's figures of per-case scores.

    Args:
        name: A key of `CONVENTIONS`.
        dice: (N,) in [0, 1]; NaN where a case has no score.
        codes: (N,) place of each case's group in `labels`; negative where it is not known.
        labels: (A,) names of the groups.

    Raises:
        ValueError: No such convention, arrays of different lengths, or scores outside [0, 1].
    """
    if name not in CONVENTIONS:
        raise ValueError(f"no convention {name!r}; known are: {', '.join(CONVENTIONS)}")
    scores = np.asarray(dice, dtype=float)
    groups = np.asarray(codes)
    if scores.ndim != 1 or scores.shape != groups.shape or (groups >= len(labels)).any():
        raise ValueError(
            f"one score and one code below {len(labels)} a case are expected, got {scores.shape} "
            f"scores and {groups.shape} codes"
        )
    if ((scores < 0) | (scores > 1)).any():
        raise ValueError("these conventions are of scores in [0, 1]")
    by_group = {label: scores[groups == code] for code, label in enumerate(labels)}
    return _CONVENTIONS[name](scores, scores[groups >= 0], by_group)


def conventions(
    scores: pd.DataFrame, codes: NDArray[Any], *, labels: Sequence[str], policy: str
) -> dict[str, Convention]:
    """Return every tool's figures of one host, each under that tool's own policy for empty masks.

    A case is worth the mean over its classes, as FairSeg's are; of one class alone pass its rows.
    Where the sizes of masks are not known, empty ones cannot be told: then `fairseg` is left out,
    and the others take the scores as they are.

    Args:
        scores: What `apple_seg.measure.score` returns, with a column `dice`.
        codes: (N,) of the cases, in the order of their first rows; negative where not known.
        labels: (A,) names of the groups.
        policy: The audit's, for those tools that have none.
    """
    sized = bool(scores[list(SIZES)].notna().all(axis=None))
    found = {}
    for name in CONVENTIONS:
        if name == "fairseg" and not sized:
            continue
        table = apply_policy(scores, _POLICIES.get(name, policy))
        dice = per_case(table, ["dice"])["dice"].to_numpy()
        found[name] = convention(name, dice, codes, labels=labels)
    return found


_POLICIES = {"fairmedfm": "one", "fairseg": "fairseg"}
"""Those tools that have a policy of their own for empty masks."""

_Scores = NDArray[np.float64]


def _fairmedfm(_all: _Scores, known: _Scores, by_group: Mapping[str, _Scores]) -> Convention:
    known = known[np.isfinite(known)]
    means = {label: _mean(part[np.isfinite(part)]) for label, part in by_group.items()}
    present = np.array([mean for mean in means.values() if np.isfinite(mean)])
    names = ("mean", "min", "max", "delta", "skewness", "std", "es")
    values = [NAN] * len(names)
    if len(present) > 1:
        mean, low, high, std = known.mean(), present.min(), present.max(), present.std()
        values = [mean, low, high, high - low, _ratio(1 - low, 1 - high), std, mean / (1 + std)]
    figures = {f"{name}_dice": float(value) for name, value in zip(names, values, strict=True)}
    return _made("fairmedfm", figures, means, cases=known, grouped=known)


def _fairseg(everyone: _Scores, known: _Scores, by_group: Mapping[str, _Scores]) -> Convention:
    means = {label: _mean(part) for label, part in by_group.items()}
    overall, found = _mean(everyone), np.array(list(means.values()))
    std = float(found.std(ddof=1)) if len(found) > 1 else NAN
    figures = {
        "dice": overall,
        "es_dice": overall / (1 + float(np.abs(found - overall).sum())),
        "es_std_dice": overall / (1 + std),
    }
    return _made("fairseg", figures, means, cases=everyone, grouped=known)


def _fairlearn(_all: _Scores, known: _Scores, by_group: Mapping[str, _Scores]) -> Convention:
    known = known[np.isfinite(known)]
    means = {label: _mean(part[np.isfinite(part)]) for label, part in by_group.items()}
    present = [mean for mean in means.values() if np.isfinite(mean)]
    low, high = min(present, default=NAN), max(present, default=NAN)
    figures = {
        "overall": _mean(known),
        "group_min": low,
        "group_max": high,
        "difference": high - low,
        "ratio": _ratio(low, high),
    }
    return _made("fairlearn", figures, means, cases=known, grouped=known)


def _ser(_all: _Scores, known: _Scores, by_group: Mapping[str, _Scores]) -> Convention:
    known = known[np.isfinite(known)]
    means = {label: _mean(part[np.isfinite(part)]) for label, part in by_group.items()}
    errors = [1 - mean for mean in means.values() if np.isfinite(mean)]
    ser = _ratio(max(errors, default=NAN), min(errors, default=NAN))
    return _made("ser", {"ser": ser}, means, cases=known, grouped=known)


_CONVENTIONS: Mapping[str, Callable[[_Scores, _Scores, Mapping[str, _Scores]], Convention]] = {
    "fairmedfm": _fairmedfm,
    "fairseg": _fairseg,
    "fairlearn": _fairlearn,
    "ser": _ser,
}


def _made(
    name: str,
    figures: Mapping[str, float],
    means: Mapping[str, float],
    *,
    cases: _Scores,
    grouped: _Scores,
) -> Convention:
    return Convention(
        name=name, figures=figures, by_group=means, n_cases=len(cases), n_grouped=len(grouped)
    )


def _mean(values: _Scores) -> float:
    return float(values.mean()) if len(values) else NAN


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below else NAN
