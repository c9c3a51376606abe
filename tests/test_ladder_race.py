"""The race: each from nothing, in all their epochs and in fewer, and who reached what, when."""

from dataclasses import replace

import pytest

from apple_seg.config import read_experiment
from benchmarks.ladder import racing
from benchmarks.ladder.__main__ import HOSTS
from benchmarks.ladder.racing import race, read_races, table, target
from benchmarks.ladder.rungs import DEFAULT, LIMIT
from climbs import climb_of
from cohorts import toy_cohort

HOST = 0.8


@pytest.fixture
def raced(tmp_path, monkeypatch):
    """A race in which an epoch is worth 0.01 to fine-tuning, half to others, and a vote 0.02."""
    monkeypatch.setenv("HAM10000", "nowhere.zip")
    folders = []

    def fitted(task, _cohort, *, progress):
        assert not progress
        folders.append(task.experiment.output)
        assert not any(task.experiment.output.iterdir())
        (task.experiment.output / "latents").touch()
        epochs = 0 if task.rung.trains == "nothing" else task.settings.epochs
        dice = HOST + 0.01 * epochs if task.rung.whole_host else HOST + 0.005 * epochs
        voted = {"candidate": {"by_group": {"a": 0.95, "b": dice + 0.02}}, "kept": True}
        fit = {
            "candidates": [{"by_group": {"a": 0.9, "b": HOST}}],
            "selected": {"by_group": {"a": 0.95, "b": dice}},
            "vote": voted if task.rung.votes else None,
            "training_seconds": [1.0] * epochs,
            "replay": {"used": epochs > 1} if task.rung.trains == "perturbers" else None,
        }
        return {"fit": fit}

    monkeypatch.setattr(racing, "climb", fitted)
    experiment = replace(read_experiment(HOSTS["unet"]), output=tmp_path / "kept")
    tasks = [climb_of(experiment, name) for name in (LIMIT, DEFAULT, "views")]
    path = race("unet", tasks, toy_cohort(4), tmp_path)
    assert path.name == "unet-as-deployed-all-age-seed-0.json"
    assert len({*folders}) == 7
    assert not any(folder.exists() for folder in folders)
    (result,) = read_races(tmp_path)
    return result


def test_runs_start_from_nothing_and_say_what_their_answers_reached(raced):
    found = {(one["rung"], one["epochs"]): one["worst"] for one in raced["runs"]}
    assert [*found] == [
        *((name, epochs) for name in (LIMIT, DEFAULT) for epochs in (4, 2, 1)),
        ("views", 0),
    ]
    assert found[LIMIT, 4] == pytest.approx(0.84)
    assert found[DEFAULT, 4] == pytest.approx(0.84)  # by vote
    assert found[DEFAULT, 1] == pytest.approx(0.825)
    assert found["views", 0] == pytest.approx(0.82)
    assert [one["epochs"] for one in raced["runs"] if one["replay"]] == [4, 2]
    assert all(one["host"] == HOST and one["seconds"] > 0 for one in raced["runs"])


def test_times_are_shares_of_the_shortest_way_that_fine_tuning_has_to_its_own_end(raced):
    def run(whole_host, epochs, worst, seconds):
        one = {"rung": "fine-tuning" if whole_host else "ours", "whole_host": whole_host}
        return {**one, "epochs": epochs, "host": HOST, "worst": worst, "seconds": seconds}

    runs = [
        run(True, 4, 0.84, 200.0),
        run(True, 2, 0.85, 100.0),
        run(True, 1, 0.83, 50.0),
        run(False, 4, 0.86, 120.0),
        run(False, 2, 0.835, 60.0),
    ]
    assert target(runs) == (0.84, 100.0)
    rows = table([{**raced, "runs": runs}]).splitlines()[2:]
    assert [row.split(" | ")[-1].strip(" |") for row in rows] == [
        "2.00",
        "1.00",
        "not reached",
        "1.20",
        "not reached",
    ]
    assert "| 0.8600 (+0.0600) | 120 |" in rows[3]
