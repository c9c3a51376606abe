"""What validation says where masks are empty: of a host nothing is known, of an epoch all is."""

import numpy as np
import pandas as pd
import pytest

from apple_seg.errors import FitError
from apple_seg.perturb import MethodSpec
from apple_seg.perturb.validation import candidate_of
from cohorts import GROUPS, toy_cohort
from fits import fit_toy


def scored(cohort, dice):
    return pd.DataFrame({"case": cohort.table["case"], "dice": dice})


def test_a_group_whose_empty_masks_are_rightly_left_empty_has_a_dice_of_1():
    cohort = toy_cohort(8)
    of_b = GROUPS.codes(cohort.table) == 1
    found = candidate_of(scored(cohort, np.where(of_b, np.nan, 0.8)), cohort, [GROUPS], 2)
    assert found.by_group == {"group = A": pytest.approx(0.8), "group = B": 1.0}
    assert found.overall == pytest.approx(0.8)
    half = np.where(of_b & (np.arange(8) < 4), np.nan, 0.8)
    assert candidate_of(scored(cohort, half), cohort, [GROUPS], 2).by_group["group = B"] == 0.8


@pytest.mark.parametrize("groups", [GROUPS, None])
def test_validation_cases_that_say_nothing_of_the_host_are_refused(groups, monkeypatch):
    nothing = toy_cohort(24, split="val", seed=1)
    monkeypatch.setattr(
        "apple_seg.perturb.validation.score",
        lambda _predict, cohort, **_options: scored(cohort, np.nan),
    )
    method = MethodSpec(name="segmentation-only")
    with pytest.raises(FitError, match=r"no Dice for any validation case.*: their masks are empty"):
        fit_toy(None, store="off", method=method, validation=nothing, groups=groups)
