"""The classifiers that probes are made of: fitted on some vectors, asked about others."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apple_seg.measure.auc import Codes, Floats, macro_auc

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Candidates for C, the strongest penalty first: it wins where two are equal."""

_INNER_FOLDS = 3
_ITERATIONS = 5000

_SEEDS = 3
"""MLPs that a guess is averaged over: that of one depends on its start."""

_STEPS, _BATCH, _EPOCHS = 260, 64, 10
"""Of an MLP: so many steps, and epochs, at least. Chosen with its rate and penalty on drawn
vectors, linear and not, of 20 to 512 features and 800 training cases."""

_ROUNDING = 1e-6
"""A feature that varies by less than this share of its size is constant but for rounding, which
standardising would blow up to a signal."""

_FAR = 10.0
"""Standard deviations at which a feature is clipped: one wild case must not undo a probe."""


class Vectors(NamedTuple):
    """Cases as a probe sees them."""

    features: Floats
    """(N, F)."""

    codes: Codes
    """(N,) groups, 0 to A - 1."""

    clusters: Codes
    """(N,) what is held out as a whole."""

    def at(self, rows: NDArray[Any]) -> "Vectors":
        """Return the cases of these rows."""
        return Vectors(self.features[rows], self.codes[rows], self.clusters[rows])

    @property
    def groups(self) -> Codes:
        """The groups that have a case."""
        return np.unique(self.codes)

    def clusters_of(self, group: int) -> int:
        """Return how many clusters have a case of a group."""
        return len(np.unique(self.clusters[self.codes == group]))


class Guess(NamedTuple):
    """What a classifier makes of cases that it has not seen."""

    scores: Floats
    """(n,) for two groups, (n, A) for more."""

    converged: bool = True


Fit = Callable[[Vectors, Floats, int], Guess]
"""`fit(train, features of others, seed)`."""


def varies(features: Floats) -> NDArray[np.bool_]:
    """Say which features (F,) vary by more than rounding."""
    return np.asarray(np.ptp(features, axis=0) > _ROUNDING * np.abs(features).max(axis=0))


def split(vectors: Vectors, folds: int, seed: int) -> Iterator[tuple[Codes, Codes]]:
    """Yield rows to train on and rows held out: whole clusters, groups as even as they allow."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    yield from splitter.split(np.zeros(len(vectors.codes)), vectors.codes, vectors.clusters)


def fit_linear(train: Vectors, features: Floats, seed: int) -> Guess:
    """Fit a logistic regression, its penalty chosen on folds of `train`."""
    folds = min(_INNER_FOLDS, *map(train.clusters_of, train.groups))
    aucs = np.zeros(len(_STRENGTHS))
    for fitted, held_out in split(train, folds, seed) if folds > 1 else ():
        part, rest = train.at(fitted), train.at(held_out)
        if len(part.groups) < len(train.groups):
            continue
        for place, strength in enumerate(_STRENGTHS):
            scores = _logistic(part, rest.features, strength).scores
            found = macro_auc(scores, rest.codes, rest.clusters).value
            aucs[place] += 0 if np.isnan(found) else found
    return _logistic(train, features, _STRENGTHS[int(aucs.argmax())])


def fit_mlp(train: Vectors, features: Floats, seed: int) -> Guess:
    """Fit MLPs of 64 hidden units for a fixed number of steps, and average what they guess."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    seen, unseen = _standardise(train.features, features)
    batch = min(_BATCH, len(seen))
    epochs = max(_EPOCHS, -(-_STEPS * batch // len(seen)))
    guesses = []
    for start in range(_SEEDS):
        model = MLPClassifier(
            (64,),
            alpha=3.0,
            batch_size=batch,
            learning_rate_init=0.01,
            max_iter=epochs,
            n_iter_no_change=epochs,
            random_state=seed * _SEEDS + start,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the budget is meant
            model.fit(seen, train.codes)
        guesses.append(model.predict_proba(unseen))
    mean = np.mean(guesses, axis=0)
    return Guess(mean[:, 1] if mean.shape[1] == 2 else mean)


FITS: Mapping[str, Fit] = {"linear": fit_linear, "mlp": fit_mlp}


def _logistic(train: Vectors, features: Floats, strength: float) -> Guess:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    seen, unseen = _standardise(train.features, features)
    model = LogisticRegression(C=strength, max_iter=_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `converged` says it
        model.fit(seen, train.codes)
    return Guess(model.decision_function(unseen), bool((model.n_iter_ < _ITERATIONS).all()))


def _standardise(train: Floats, others: Floats) -> tuple[Floats, Floats]:
    """Bring both to mean 0 and deviation 1 of `train`."""
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    scale = np.where(deviation > _ROUNDING * np.abs(train).max(axis=0), deviation, np.inf)
    seen, unseen = (np.clip((part - mean) / scale, -_FAR, _FAR) for part in (train, others))
    return seen, unseen
