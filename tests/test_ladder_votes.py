"""The ladder's rungs that answer by vote: whose weights they have, and which vote counts."""

import json
from dataclasses import replace

import numpy as np
import pytest

from apple_seg.config import read_experiment
from benchmarks.ladder import fitting
from benchmarks.ladder.__main__ import HOSTS
from benchmarks.ladder.climbs import checkpoint_of, digest, done
from benchmarks.ladder.fitting import climb
from benchmarks.ladder.rungs import CONTROL, DEFAULT, VIEWS
from benchmarks.ladder.scenarios import of_scenario
from benchmarks.ladder.voting import answering_weights, views_of
from climbs import climb_of
from cohorts import toy_cohort


@pytest.fixture
def laddered(tmp_path, monkeypatch):
    """Makes climbs whose training writes who was trained, and whose fourth epoch's vote is kept."""
    monkeypatch.setenv("HAM10000", "nowhere.zip")
    experiment = replace(read_experiment(HOSTS["unet"]), output=tmp_path)

    def trained(task, _train, _validation, *, progress):
        task.weights.parent.mkdir(parents=True, exist_ok=True)
        task.weights.write_bytes(task.name.encode())
        return Told()

    def voted(task, _validation, *, progress):
        asked = {"fitted": {"epoch": 4}, "untouched": {"epoch": 0}}
        vote = {"kept": True, "views": list(VIEWS), "candidate": asked["fitted"], **asked}
        said = {
            "identity": task.identity,
            "weights": digest(task.weights),
            "vote": vote,
            "seconds": 5.0,
        }
        task.vote_record.write_text(json.dumps(said))

    monkeypatch.setattr(fitting, "_fit", trained)
    monkeypatch.setattr(fitting, "put_rung_to_vote", voted)

    def made(name, cases=None):
        task = climb_of(experiment, name, cases)
        cohort = toy_cohort(8)
        split = np.repeat(["train", "val"], 4)
        cohort = replace(cohort, table=cohort.table.assign(split=split))
        return task, climb(task, cohort, progress=False)

    return made


class Told:
    """What a fit says."""

    def to_dict(self):
        candidates = [{"epoch": epoch} for epoch in range(5)]
        return {"selected": candidates[4], "candidates": candidates, "seconds": 10.0}


@pytest.mark.parametrize("cases", [None, 100])
def test_the_default_is_the_control_put_to_the_vote(laddered, cases):
    default, record = laddered(DEFAULT, cases)
    assert default.weights.read_bytes() == CONTROL.encode()
    assert record["fit"]["vote"]["kept"]
    assert record["fit"]["seconds"] == 15
    assert views_of(default) == VIEWS
    control, record = laddered(CONTROL, cases)
    assert record["fit"]["vote"] is None
    assert views_of(control) == ("as-is",)
    beside, _ = laddered("consensus-semi-supervised", cases)
    assert beside.weights.read_bytes() == b"consensus-semi-supervised"


def test_a_vote_on_other_weights_counts_for_nothing(laddered):
    task, _ = laddered("consensus-unsupervised")
    assert done(task) is not None
    trained = task.weights.read_bytes()
    task.weights.write_bytes(b"trained anew")
    assert done(task) is None
    assert views_of(task) == ("as-is",)
    task.weights.write_bytes(trained)
    assert done(task) is not None
    said = json.loads(task.vote_record.read_text())
    del said["vote"]["untouched"]  # as it was before the untouched host had a vote
    task.vote_record.write_text(json.dumps(said))
    assert done(task) is None


@pytest.mark.parametrize("name", [DEFAULT, "fine-tuning-consensus"])
def test_where_the_untouched_hosts_vote_is_kept_it_is_the_host_that_answers(laddered, name):
    task, record = laddered(name)
    assert answering_weights(task) == task.weights
    assert record["fit"]["selected"]["epoch"] == 4
    said = json.loads(task.vote_record.read_text())
    said["vote"]["candidate"] = said["vote"]["untouched"]
    task.vote_record.write_text(json.dumps(said))
    assert answering_weights(task) == checkpoint_of(of_scenario(task.experiment, task.scenario))
    assert done(task)["fit"]["selected"]["epoch"] == 0
    assert views_of(task) == VIEWS
    said["vote"]["kept"] = False
    task.vote_record.write_text(json.dumps(said))
    assert answering_weights(task) == task.weights
    assert done(task)["fit"]["selected"]["epoch"] == 4
