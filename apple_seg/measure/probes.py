"""What a vector gives away of the group of its case: fresh classifiers, scored on held-out cases.

A probe at chance says that this kind of probe, from this many cases, reads nothing. A discriminator
at chance, which the latent was trained against, says nothing at all.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apple_seg.measure.auc import Auc, Codes, Floats, macro_auc
from apple_seg.measure.classifiers import FITS, Fit, Vectors, split, varies

CONSTANT = "every feature is constant: there is nothing to read"


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """How well a probe tells the groups of cases that it has not seen."""

    kind: str
    """`linear` or `mlp`."""

    auc: float
    """0.5 is chance; of more than two groups the mean of one against the rest. NaN: see reason."""

    low: float
    high: float
    confidence: float
    n_cases: int
    n_clusters: int
    reason: str = ""
    """Why there is no AUC."""

    left_out: tuple[int, ...] = ()
    """Codes of groups with too few clusters to be held out in turn."""

    not_converged: int = 0
    """Folds in which the linear probe was stopped before it had converged."""

    detail: Auc | None = field(default=None, repr=False, compare=False)
    """What `auc_change` pairs."""

    @property
    def known(self) -> bool:
        """Whether there is an AUC with an interval."""
        return bool(np.isfinite([self.auc, self.low, self.high]).all())

    def to_dict(self) -> dict[str, Any]:
        """Return what a file holds of it."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "detail"}


def probe(
    features: NDArray[Any],
    codes: NDArray[Any],
    clusters: NDArray[Any],
    *,
    kind: str = "linear",
    folds: int = 5,
    seed: int = 0,
    confidence: float = 0.95,
) -> Leakage:
    """Cross-fit a probe of the group, no cluster on both sides, and return its AUC.

    `linear` is a logistic regression whose penalty is chosen within the training folds; `mlp` has
    64 hidden units and a fixed budget of steps, since a stop by held-out cases would split
    clusters. Which case is in which fold depends on codes, clusters and seed alone, so that probes
    of different features of the same cases can be paired.

    Folds share the cases that their probes are fitted on, so that their AUCs go together and
    spread farther than if they did not. The variance is therefore multiplied by 1 + K / (K - 1)
    for K folds (Nadeau and Bengio 2003, Machine Learning 52:239): the interval is of such probes,
    and not only of those that were fitted.

    Args:
        features: (N, F), of any scale: they are standardised by the training folds.
        codes: (N,) groups; negative ones are left out. A group needs two clusters a fold.
        clusters: (N,) what is held out as a whole.
        kind: "linear" or "mlp".
        folds: How many parts are held out in turn.
        seed: Of the folds and of the MLPs.
        confidence: Of the interval, two-sided.

    Raises:
        ValueError: No such kind, or the arrays do not fit together.
    """
    _check(features, codes, clusters, kind=kind, folds=folds)
    names, places = np.unique(clusters.astype(str), return_inverse=True)
    given = Vectors(np.asarray(features, dtype=np.float64), codes.astype(np.int64), places)
    vectors, left_out = _usable(given, least=2 * folds)
    nothing = Leakage(
        kind=kind,
        auc=float("nan"),
        low=float("nan"),
        high=float("nan"),
        confidence=confidence,
        n_cases=len(vectors.codes),
        n_clusters=len(np.unique(vectors.clusters)),
        reason=_why_not(vectors, least=2 * folds),
        left_out=left_out,
    )
    if nothing.reason:
        return nothing
    scores, held_out, stopped = _cross_fit(vectors, FITS[kind], folds=folds, seed=seed)
    kept = held_out >= 0
    found = macro_auc(
        scores[kept],
        vectors.codes[kept],
        names[vectors.clusters[kept]],
        folds=held_out[kept],
        spread=(1 + folds / (folds - 1)) ** 0.5,
        confidence=confidence,
    )
    return replace(
        nothing,
        auc=found.value,
        low=found.low,
        high=found.high,
        reason="" if np.isfinite(found.value) else "no fold could be held out",
        not_converged=stopped,
        detail=found,
    )


def _check(
    features: NDArray[Any], codes: NDArray[Any], clusters: NDArray[Any], *, kind: str, folds: int
) -> None:
    if kind not in FITS or folds < 2:
        raise ValueError(f"kinds are {', '.join(FITS)}, folds 2 or more; got {kind!r}, {folds}")
    if features.ndim != 2 or not len(features) == len(codes) == len(clusters):
        raise ValueError(
            "features, codes and clusters are (N, F), (N,) and (N,); "
            f"got {features.shape}, {codes.shape} and {clusters.shape}"
        )


def _usable(given: Vectors, *, least: int) -> tuple[Vectors, tuple[int, ...]]:
    """Return the cases of groups with enough clusters, coded from 0 on, and the other codes."""
    known = [int(code) for code in given.groups if code >= 0]
    enough = [code for code in known if given.clusters_of(code) >= least]
    used = given.at(np.isin(given.codes, enough))
    left_out = tuple(code for code in known if code not in enough)
    return used._replace(codes=np.searchsorted(enough, used.codes)), left_out


def _why_not(vectors: Vectors, *, least: int) -> str:
    """Say why nothing can be probed, if so."""
    if len(vectors.groups) < 2:
        return f"fewer than two groups have {least} clusters or more, which the folds need"
    if not np.isfinite(vectors.features).all():
        return "some features are not finite"
    return "" if varies(vectors.features).any() else CONSTANT


def _cross_fit(vectors: Vectors, fit: Fit, *, folds: int, seed: int) -> tuple[Floats, Codes, int]:
    """Return each case's score by the probe that has not seen its cluster.

    Returns:
        Scores (N,) or (N, A); the fold (N,) of each, -1 where the other folds lack a group; and
        how many probes had not converged.
    """
    vectors = vectors._replace(features=vectors.features[:, varies(vectors.features)])
    count, groups = len(vectors.codes), len(vectors.groups)
    scores = np.zeros(count if groups == 2 else (count, groups))
    held_out, stopped = np.full(count, -1), 0
    for fold, (rows, others) in enumerate(split(vectors, folds, seed)):
        train = vectors.at(rows)
        if len(train.groups) == groups:
            guess = fit(train, vectors.features[others], seed)
            scores[others], held_out[others] = guess.scores, fold
            stopped += not guess.converged
    return scores, held_out, stopped
