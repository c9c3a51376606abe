"""One small fit, to be run in processes of its own: killed, resumed, or several at once."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from apple_seg.host import Pipeline, wrap
from apple_seg.perturb import FitSettings, MethodSpec, fit
from apple_seg.replay import ReplaySettings
from cohorts import GROUPS, SPEC, toy_cohort
from hosts import ToyHost

SETTINGS = FitSettings(epochs=4, batch_size=8, learning_rate=3e-3)


def toy_pipeline():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        host = ToyHost()
    segmentor = wrap(host, torch.rand(1, 3, 16, 16), sites=[ToyHost.SITE])
    return Pipeline(segmentor, SPEC, ["lesion"])


def fit_toy(folder, *, store="disk", **changes):
    """Fit with APPLE on 48 cases; return the result and the perturbers' weights."""
    torch.set_num_threads(1)
    pipeline = toy_pipeline()
    given = {
        "train": toy_cohort(48),
        "validation": toy_cohort(16, split="val", seed=1),
        "groups": GROUPS,
        "method": MethodSpec(name="apple"),
        "settings": SETTINGS,
        "replay": ReplaySettings(store=store),
        "folder": folder,
        "progress": False,
    }
    result = fit(pipeline, **{**given, **changes})
    return result, [one.state_dict() for one in pipeline.segmentor.perturbers]


def fit_to_file(folder, out, store="disk", epochs=SETTINGS.epochs, batch_size=SETTINGS.batch_size):
    """Fit in `folder`; the main process writes what came of it to `out`."""
    settings = replace(SETTINGS, epochs=int(epochs), batch_size=int(batch_size))
    result, weights = fit_toy(Path(folder), store=store, settings=settings)
    if os.environ.get("RANK", "0") == "0":
        candidates = [dict(one.by_group) for one in result.candidates]
        losses = [dict(one) for one in result.losses]
        torch.save({"weights": weights, "candidates": candidates, "losses": losses}, out)


if __name__ == "__main__":
    fit_to_file(*sys.argv[1:])
