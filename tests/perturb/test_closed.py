"""Methods that are solved and not trained, from the fit to the result."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from apple_seg.data import Groups
from apple_seg.errors import ConfigError, FitError, GroupError
from apple_seg.host import Pipeline, Site, fingerprint, wrap
from apple_seg.perturb import FitSettings, MethodSpec, closed, fit, pool
from apple_seg.replay import ReplaySettings
from cohorts import GROUPS, SPEC, toy_cohort
from fits import fit_toy, toy_pipeline
from hosts import ToyHost
from launching import launch

LATEST = FitSettings(batch_size=8, selection="latest", margin=0.9)
HALVES = Groups(by={"half": ["left", "right"]}, reference="half = left")


def linear_pipeline():
    """A host perturbed before its ReLU, which leaves some channels nothing to scale."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        segmentor = wrap(ToyHost(), torch.rand(1, 3, 16, 16), sites=[Site("encoder.conv")])
    return Pipeline(segmentor, SPEC, ["lesion"])


def solve(pipeline=None, method="leace", **changes):
    """Fit on 48 cases; return the result and the wrapped host."""
    pipeline = toy_pipeline() if pipeline is None else pipeline
    given = {
        "train": toy_cohort(48),
        "validation": toy_cohort(16, split="val", seed=1),
        "groups": GROUPS,
        "method": MethodSpec(name=method) if isinstance(method, str) else method,
        "settings": LATEST,
        "progress": False,
    }
    return fit(pipeline, **{**given, **changes}), pipeline.segmentor


def weights(segmentor):
    return [one.state_dict() for one in segmentor.perturbers]


def pooled(segmentor, cohort):
    """Return (N, 2C) statistics of what the decoder gets, of all cases."""
    images = torch.from_numpy(np.stack([np.asarray(case.image) for case in cohort])).float()
    with torch.no_grad():
        return pool(segmentor(images).latents)


def shared(vectors, codes):
    """Return the largest correlation of an entry with a group of known cases."""
    known = codes >= 0
    both = np.column_stack([vectors[known], codes[known]])
    return np.nanmax(np.abs(np.corrcoef(both[:, both.std(0) > 1e-6], rowvar=False)[-1, :-1]))


def with_halves(cohort, unknown=()):
    """Say of each case whether its lesion lies left; in the places of `unknown`, nothing."""
    table = cohort.table.copy()
    columns = [np.nonzero(case.mask[0])[1].mean() for case in cohort]
    table["half"] = np.where(np.array(columns) < 7, "left", "right")
    table.loc[list(unknown), "half"] = ""
    return dataclasses.replace(cohort, table=table.astype("string"))


@pytest.mark.parametrize(("method", "upto"), [("leace", 8), ("leace-statistics", 16)])
def test_solved_methods_erase_the_group_and_leave_the_host_alone(method, upto):
    pipeline, train = linear_pipeline(), toy_cohort(48)
    codes = GROUPS.codes(train.table)
    before = fingerprint(pipeline.segmentor.host)
    assert shared(pooled(pipeline.segmentor, train)[:, :upto], codes) > 0.5
    result, segmentor = solve(pipeline, method)
    assert shared(pooled(segmentor, train)[:, :upto], codes) < 0.01
    assert fingerprint(segmentor.host) == before
    assert [one.epoch for one in result.candidates] == [0, 1]
    assert result.selected.epoch == 1
    assert result.losses == ({},)
    assert len(result.training_seconds) == 1
    assert result.to_dict()["method"]["name"] == method


def test_standardise_leaves_all_images_the_same_statistics_and_random_changes_leave_theirs():
    def spread(segmentor):
        return pooled(segmentor, toy_cohort(24, split="test", seed=2)).std(0)

    plain = spread(linear_pipeline().segmentor)
    result, segmentor = solve(linear_pipeline(), "standardise")
    assert result.selected.epoch == 1
    assert spread(segmentor).max() < 0.01 * plain.max()
    _, segmentor = solve(linear_pipeline(), "random")
    assert spread(segmentor).max() > 0.9 * plain.max()


def test_channels_that_are_dead_in_one_group_still_tell_it():
    """A limit: there is nothing to scale where a channel is 0 in all cells."""
    train = toy_cohort(48)
    _, segmentor = solve(method="leace-statistics", train=train)
    vectors, codes = pooled(segmentor, train).numpy(), GROUPS.codes(train.table)
    dead = (vectors[:, 8:] < 0.0011).mean(0)
    assert 0 < dead.max() < 1
    assert shared(vectors, codes) > 0.5


def test_unknown_cases_are_left_out_of_their_attribute_alone():
    """The group is known of 36 cases, the half of 40: erased from the means of just these."""
    train = with_halves(toy_cohort(48), unknown=range(40, 48))
    train.table.loc[list(range(12)), "group"] = ""
    wrong = with_halves(toy_cohort(48), unknown=range(40, 48))
    wrong.table.loc[list(range(12)), "group"] = "A"
    validation = with_halves(toy_cohort(16, split="val", seed=1))
    given = {"validation": validation, "others": [HALVES]}
    _, segmentor = solve(train=train, **given)
    vectors = pooled(segmentor, train)[:, :8]
    assert shared(vectors, GROUPS.codes(train.table)) < 0.01
    assert shared(vectors, HALVES.codes(train.table)) < 0.01
    _, segmentor = solve(train=wrong, **given)
    assert shared(pooled(segmentor, train)[:, :8], GROUPS.codes(train.table)) > 0.05


def test_numbers_are_erased_too():
    train = toy_cohort(48)
    ages = np.array([float(case.image[1].mean()) for case in train])
    train.table["age"] = ages

    def told(segmentor):
        """Return how much of the variance of age the means explain, without rounding's share."""
        means = pooled(segmentor, train)[:, :8].double().numpy()
        centred = means - means.mean(0)
        fitted = centred @ np.linalg.lstsq(centred, ages - ages.mean(), rcond=1e-3)[0]
        return fitted.var() / ages.var()

    pipeline = linear_pipeline()
    assert told(pipeline.segmentor) > 0.8
    _, segmentor = solve(pipeline, train=train, method=MethodSpec(name="leace", numbers=("age",)))
    assert told(segmentor) < 1e-3


def test_replayed_records_give_the_same_solution():
    _, plain = solve(replay=ReplaySettings(store="off"))
    result, replayed = solve(replay=ReplaySettings(store="memory"))
    assert result.replay.used
    torch.testing.assert_close(weights(replayed), weights(plain), rtol=1e-4, atol=1e-5)


def test_solved_fit_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    solved = []
    real = closed.Solver.solve

    def counted(self, feed):
        solved.append(1)
        if len(solved) == 1:
            raise KeyboardInterrupt
        real(self, feed)

    monkeypatch.setattr(closed.Solver, "solve", counted)
    given = {"replay": ReplaySettings(store="off"), "method": "random"}
    with pytest.raises(KeyboardInterrupt):
        solve(folder=tmp_path, **given)
    first, here = solve(folder=tmp_path, **given)
    again, there = solve(folder=tmp_path, **given)
    assert len(solved) == 2  # the third found it done
    assert again.candidates == first.candidates
    torch.testing.assert_close(weights(there), weights(here), rtol=0, atol=0)
    _, apart = solve(**given)
    torch.testing.assert_close(weights(apart), weights(here), rtol=0, atol=0)


def test_random_control_changes_masks_by_its_norm_and_not_by_its_cases():
    method = MethodSpec(name="random", perturber={"name": "random", "norm": 0.5})
    result, segmentor = solve(method=method)
    _, other = solve(method=method, train=toy_cohort(48, seed=7))
    torch.testing.assert_close(weights(other), weights(segmentor), rtol=0, atol=0)
    settings = dataclasses.replace(LATEST, seed=1)
    assert not torch.equal(
        weights(solve(method=method, settings=settings)[1])[0]["up"], weights(segmentor)[0]["up"]
    )
    assert result.candidates[1].by_group != result.candidates[0].by_group
    assert result.trained_parameters == 1  # its size, which is set


def test_rule_may_keep_the_identity_instead():
    method = MethodSpec(name="random", perturber={"name": "random", "norm": 50.0})
    strict = dataclasses.replace(LATEST, margin=0.0)
    result, segmentor = solve(method=method, settings=strict)
    assert result.selected.epoch == 0
    latent = torch.rand(1, 8, 8, 8)
    torch.testing.assert_close(segmentor.perturbers[0](latent), latent, rtol=0, atol=0)


def test_nothing_to_take_out_is_refused():
    with pytest.raises(GroupError, match="leace takes attributes out; name groups, or numbers"):
        solve(groups=None)
    solve(groups=None, method="random")


def test_sites_that_feed_each_other_are_refused():
    sites = [Site("", io="input"), ToyHost.SITE]
    segmentor = wrap(ToyHost(), torch.rand(1, 3, 16, 16), sites=sites)
    with pytest.raises(FitError, match=r"what arrives at encoder\[-1\] is changed by the pert"):
        solve(Pipeline(segmentor, SPEC, ["lesion"]))
    assert all(isinstance(one, torch.nn.Identity) for one in segmentor.perturbers)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "leace", "loss": "dice-ce"}, "leace is solved, not trained: it has no loss"),
        ({"name": "random", "terms": {"adversary": 1.0}}, "it has no adversary"),
        ({"name": "apple", "perturber": "leace"}, "'apple' has the perturber 'residual', got 'le"),
        ({"name": "leace", "perturber": "lean"}, "'leace' has the perturber 'leace', got 'lean'"),
    ],
)
def test_what_has_no_part_in_a_solved_method_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        MethodSpec(**given)
    assert MethodSpec(name="leace", perturber={"name": "leace", "ridge": 0.1}).solved


SCRIPT = """
import os, sys
sys.path[:0] = [{tests!r}, {root!r}]
import torch
from apple_seg.perturb import MethodSpec
from fits import fit_toy
result, weights = fit_toy(sys.argv[1], method=MethodSpec(name="leace-statistics"))
torch.save({{"weights": weights, "n": len(result.candidates)}}, sys.argv[2] + os.environ["RANK"])
"""


def test_two_processes_solve_as_one_does(tmp_path):
    tests = Path(__file__).parents[1]
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(tests), root=str(tests.parent)))
    done = launch(script, tmp_path / "two", tmp_path / "rank")
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"rank{one}", weights_only=True) for one in (0, 1))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    result, alone = fit_toy(None, store="off", method=MethodSpec(name="leace-statistics"))
    assert first["n"] == len(result.candidates) == 2
    torch.testing.assert_close(first["weights"], alone, rtol=1e-4, atol=1e-5)
