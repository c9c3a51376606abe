"""How strongly an adversary counts, by what a fresh probe reads on cases that it was not fitted on.

An adversary that has lost track guesses badly and looks beaten. A probe fitted anew knows better.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apple_seg.perturb.objectives.guesses import Truth

_STEP = 1.5
_LEAST, _MOST = 0.1, 10.0


class Kept(NamedTuple):
    """Cases of an epoch, in the order in which they were seen."""

    pooled: Tensor
    """(N, F), detached."""

    codes: Tensor
    """(N, attributes), -1 where unknown."""

    numbers: Tensor
    """(N, numbers), NaN where unknown."""


class LeakageSchedule:
    """A factor that grows by 1.5 after an epoch that leaks more than `ceiling`, and else shrinks.

    It stays from 0.1 to 10. What leaks is the held-out AUC of ridge classifiers, fitted in closed
    form on the first half of an epoch's cases and asked about the second; of several attributes
    the one that leaks most. Of a number it is how well a ridge regression tells what lies above
    the median. Not published; a steer, not a proof: the perturber moves while an epoch is seen,
    patients may have cases in both halves, and balanced batches show a case more than once.
    """

    def __init__(self, ceiling: float) -> None:
        self.ceiling = ceiling
        self.factor = 1.0
        self.kept: list[Kept] = []

    def keep(self, pooled: Tensor, truth: Truth) -> None:
        """Remember a batch: what there is to be known of detached pooled latents (n, F)."""
        codes = torch.stack([one.codes for one in truth.attributes], 1)
        self.kept.append(Kept(pooled, codes, truth.numbers))

    def end_epoch(self) -> dict[str, float]:
        """Change the factor; return it, and the AUC where there is one."""
        columns = zip(*self.kept, strict=True)
        auc = leakage(*(torch.cat([one.cpu() for one in column]) for column in columns))
        self.kept = []
        if auc > self.ceiling:
            self.factor = min(self.factor * _STEP, _MOST)
        elif auc < self.ceiling:
            self.factor = max(self.factor / _STEP, _LEAST)
        read = {} if math.isnan(auc) else {"adversary_probe_auc": auc}
        return {**read, "adversary_factor": self.factor}

    def state_dict(self) -> dict[str, Any]:
        """Return the factor and what is kept."""
        return {"factor": self.factor, "kept": [tuple(one) for one in self.kept]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.factor = state["factor"]
        self.kept = [Kept(*one) for one in state["kept"]]


def leakage(*cases: Tensor) -> float:
    """Return the highest held-out AUC over attributes and numbers; NaN where there is none.

    Args:
        cases: What `Kept` has.
    """
    if not cases:
        return float("nan")
    pooled, codes, numbers = (one.double().numpy() for one in cases)
    aucs = [_auc_of_groups(pooled, column.astype(np.int64)) for column in codes.T]
    aucs += [_auc_of_number(pooled, column) for column in numbers.T]
    return max((one for one in aucs if not math.isnan(one)), default=float("nan"))


def _auc_of_groups(pooled: NDArray[np.float64], codes: NDArray[np.int64]) -> float:
    known = codes >= 0
    pooled, codes = pooled[known], codes[known]
    half = len(codes) // 2
    there, codes = np.unique(codes, return_inverse=True)
    if len({*codes[:half]}) < 2 or len({*codes[half:]}) < 2:
        return float("nan")
    scores = ridge(pooled[:half], np.eye(len(there))[codes[:half]], pooled[half:])
    return _auc(scores[:, 1] - scores[:, 0] if len(there) == 2 else scores, codes[half:])


def _auc_of_number(pooled: NDArray[np.float64], number: NDArray[np.float64]) -> float:
    known = np.isfinite(number)
    pooled, number = pooled[known], number[known]
    half = len(number) // 2
    if len({*number[:half]}) < 2 or len({*number[half:]}) < 2:
        return float("nan")
    guesses = ridge(pooled[:half], number[:half, None], pooled[half:])[:, 0]
    middle = np.median(number[half:])
    above = number[half:] > middle if number[half:].max() > middle else number[half:] >= middle
    return _auc(guesses, above.astype(np.int64))


def ridge(
    features: NDArray[np.float64], targets: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what a ridge regression of targets (n, T) on features (n, F) says of others (m, F).

    Features are standardised, and the penalty is their number F: right where they tell as much as
    they do not, each a little.
    """
    centre, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    known, asked = (features - centre) / scale, (others - centre) / scale
    mean, cases = targets.mean(0), len(features)
    penalty = features.shape[1]
    if cases < penalty:  # the same in its dual form, which is then the smaller system
        weights = np.linalg.solve(known @ known.T + penalty * np.eye(cases), targets - mean)
        return np.asarray(asked @ known.T @ weights + mean)
    system = known.T @ known + penalty * np.eye(penalty)
    return np.asarray(asked @ np.linalg.solve(system, known.T @ (targets - mean)) + mean)


def _auc(scores: NDArray[np.float64], codes: NDArray[np.int64]) -> float:
    from apple_seg.measure.auc import macro_auc

    return macro_auc(scores, codes, np.arange(len(codes))).value
