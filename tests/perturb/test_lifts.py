"""Fits on a planted group that is rare and hard: who lifts it, and that shuffled groups do not."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

from apple_seg.data import Cohort
from apple_seg.data.sources import MemorySource
from apple_seg.perturb import FitSettings, MethodSpec
from cohorts import npy, toy_cohort
from fits import fit_toy

CONTRAST = {"A": 2.0, "B": 0.7}
"""How much brighter a lesion is than the noise about it."""

NARROW = {"name": "lean", "rank": 2}
"""Too few channels to serve both groups as well as either of them."""


def faint_cohort(n, *, split, seed, every, shuffle=False):
    """Cases of A, and one in `every` of B, whose lesions are faint; the groups may be shuffled."""
    draw = np.random.default_rng(seed)
    files, rows = {}, []
    for i in range(n):
        group = "A" if i % every else "B"
        image = draw.random((16, 16, 3)).astype(np.float32)
        y, x = draw.integers(2, 8, 2)
        mask = np.zeros((16, 16), np.uint8)
        mask[y : y + 6, x : x + 6] = 1
        image[..., 2] += CONTRAST[group] * mask
        name = f"{split}/{i}"
        files |= {f"{name}.npy": npy(image), f"{name}-mask.npy": npy(mask)}
        rows.append((f"{name}.npy", f"{split}-p{i}", f"{name}-mask.npy", split, group))
    table = pd.DataFrame(rows, columns=["case", "cluster", "mask", "split", "group"])
    if shuffle:
        table["group"] = draw.permutation(table["group"])
    return Cohort(table.astype("string"), MemorySource(files), {"lesion": 1})


@cache
def dice_of_faint(method, seed, *, shuffle=False):
    """Fit on 192 cases; return the validation Dice of B after the last epoch."""
    result, _ = fit_toy(
        None,
        store="memory",
        train=faint_cohort(192, split="train", seed=seed, every=6, shuffle=shuffle),
        validation=faint_cohort(32, split="val", seed=seed + 100, every=2),
        method=MethodSpec(name=method, perturber=NARROW),
        settings=FitSettings(epochs=8, batch_size=24, learning_rate=2e-2, seed=seed),
    )
    return result.candidates[-1].by_group["group = B"]


@pytest.mark.parametrize("seed", range(3))
def test_worst_group_weighting_lifts_the_planted_group_and_shuffled_groups_do_not(seed):
    plain = dice_of_faint("segmentation-only", seed)
    assert 0.3 < plain < 0.7
    lifted = dice_of_faint("worst-group", seed)
    assert lifted > plain + 0.1
    assert dice_of_faint("worst-group", seed, shuffle=True) < plain + 0.5 * (lifted - plain)


def test_gap_lifts_it_too_and_a_gap_of_shuffled_groups_does_not():
    plain, lifted = dice_of_faint("segmentation-only", 0), dice_of_faint("gap", 0)
    assert lifted > plain + 0.1
    assert dice_of_faint("gap", 0, shuffle=True) < plain + 0.5 * (lifted - plain)


def test_the_worst_cases_are_lifted_without_a_group():
    assert dice_of_faint("cvar", 0) > dice_of_faint("segmentation-only", 0) + 0.1


@pytest.mark.parametrize(
    "method",
    [
        {"name": "febs"},
        {"name": "hard-cases"},
        {"loss": "focal"},
        {"loss": {"name": "edge", "width": 1}},
        {"terms": {"preserve": 0.1}},
    ],
    ids=["febs", "hard-cases", "focal", "edge", "preserve"],
)
def test_other_parts_train_the_loss_falls_and_dice_rises(method):
    spec = MethodSpec(**{"name": "segmentation-only", **method})
    settings = FitSettings(epochs=10, batch_size=8, learning_rate=1e-2)
    result, _ = fit_toy(None, store="memory", method=spec, settings=settings)
    assert result.losses[-1]["segmentation"] < 0.8 * result.losses[0]["segmentation"]
    assert result.selected.group_min > result.candidates[0].group_min + 0.1
    assert ("preserve" in result.losses[0]) == ("preserve" in spec.parts.terms)


def test_preservation_keeps_a_fit_near_the_host():
    def moved(weight):
        spec = MethodSpec(name="segmentation-only", terms={"preserve": weight})
        settings = FitSettings(epochs=3, batch_size=8, learning_rate=1e-2)
        train = toy_cohort(24)
        result, _ = fit_toy(None, store="memory", method=spec, settings=settings, train=train)
        return abs(result.candidates[-1].overall - result.candidates[0].overall)

    free, held = moved(0.0), moved(30.0)
    assert free > 0.2
    assert held < 0.3 * free
