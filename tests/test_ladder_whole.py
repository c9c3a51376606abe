"""One small ladder from its fits through the vote to committed results, nothing replaced."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from apple_seg.config import read_experiment
from apple_seg.errors import AppleSegError
from apple_seg.perturb import FitSettings
from benchmarks.ladder.climbs import done
from benchmarks.ladder.fitting import climb
from benchmarks.ladder.results import audit_cell, read_results
from benchmarks.ladder.rungs import CONTROL, DEFAULT, LIMIT
from benchmarks.ladder.scenarios import AS_DEPLOYED, team_cases
from benchmarks.ladder.tables import brief, whole
from climbs import climb_of
from planted import write_experiment

NAMES = (
    "views",
    "leace",
    "apple",
    "apple-control",
    CONTROL,
    DEFAULT,
    LIMIT,
    "fine-tuning-consensus",
)
SETTINGS = FitSettings(
    epochs=2, batch_size=4, learning_rate=0.01, margin=0.5, views=("as-is", "flip-w")
)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ladder")
    path = write_experiment(folder)
    shutil.copyfile(folder / "host.pt", folder / f"host-{AS_DEPLOYED}.pt")
    return read_experiment(path)


def climbs_of(experiment, names=NAMES):
    return {
        name: [climb_of(experiment, name, seed=seed, settings=SETTINGS) for seed in (0, 1)]
        for name in names
    }


@pytest.fixture(scope="module")
def fitted(experiment):
    cohort = experiment.cohort.read()
    rungs = climbs_of(experiment)
    for tasks in rungs.values():
        for task in tasks:
            climb(task, cohort, progress=False)
    return rungs, cohort


def test_a_ladder_is_fitted_voted_audited_and_shown(fitted, tmp_path):
    rungs, cohort = fitted
    said = [*audit_cell("toy", rungs, cohort.split("test"), wanted=NAMES, folder=tmp_path)]
    assert len([line for line in said if line.startswith("wrote")]) == len(NAMES)
    ((cell, results),) = read_results(tmp_path).items()
    assert cell == f"toy-{AS_DEPLOYED}-all-group"
    found = {one["rung"]: one for one in results}
    assert {one["n_fit"] for name, one in found.items() if name != "views"} == {
        len(team_cases(cohort.split("train"), None, 0))
    }
    assert found[LIMIT]["trained_parameters"] == found[LIMIT]["host_parameters"]
    assert found[LIMIT]["method"]["perturber"] is found["views"]["method"]["sites"] is None
    assert set(found[DEFAULT]["audit"]["against"]) == set(NAMES) - {DEFAULT}
    assert set(found["apple"]["audit"]["against"]) == {CONTROL, "apple-control"}
    methods = [found[name]["method"] for name in ("apple", "apple-control")]
    differing = {key for key in methods[0] if methods[0][key] != methods[1][key]}
    assert differing == {"terms"}
    assert "\n*apple* above *apple-control*, group = " in whole({cell: results})
    # The default has the control's weights, and may vote besides.
    for one, other in zip(found[DEFAULT]["fits"], found[CONTROL]["fits"], strict=True):
        assert one["validation"] == other["validation"]
        assert one["kept"] in (other["kept"], 0)  # 0 where the untouched host's vote is kept
        assert one["vote"]["untouched"] == found["views"]["fits"][0]["vote"]["fitted"]
        assert other["vote"] is None
    untouched = [one["vote"]["untouched"] for one in found["fine-tuning-consensus"]["fits"]]
    assert untouched == [one["vote"]["fitted"] for one in found["views"]["fits"]]
    # What the tables say of the limit is what its own weights score.
    host = found[LIMIT]["audit"]["against_host"]["host"]["overall"]["value"]
    limit = found[LIMIT]["audit"]["against_host"]["perturbed"]["overall"]["value"]
    assert not np.isclose(host, limit)
    assert f"{limit:.4f}" in whole({cell: results})
    assert DEFAULT in brief({cell: results})


def test_what_is_not_fitted_is_said_and_more_seeds_are_not_written_over(fitted, tmp_path):
    rungs, cohort = fitted
    cases = cohort.split("test")
    more = climbs_of(rungs[CONTROL][0].experiment, names=("hsic", CONTROL))
    said = [*audit_cell("toy", more, cases, wanted=("hsic", CONTROL), folder=tmp_path)]
    assert said[0].startswith("left out, not fitted with all seeds: as-deployed-all-group/hsic")
    fewer = {CONTROL: rungs[CONTROL][:1]}
    with pytest.raises(AppleSegError, match=r"is of seeds 1 too: name them in --seeds"):
        [*audit_cell("toy", fewer, cases, wanted=[CONTROL], folder=tmp_path)]


def test_a_part_of_the_rungs_stands_beside_the_others_all_the_same(fitted, tmp_path):
    rungs, cohort = fitted
    (said,) = audit_cell("toy", rungs, cohort.split("test"), wanted=[LIMIT], folder=tmp_path)
    found = json.loads((tmp_path / said.removeprefix("wrote ")).read_text())
    assert set(found["audit"]["against"]) == {CONTROL}


@pytest.mark.parametrize("rung", [CONTROL, "views"])
def test_a_fit_of_another_host_or_of_other_groups_is_not_taken_for_this_one(fitted, tmp_path, rung):
    (task, _), _ = fitted[0][rung], fitted[1]
    assert done(task) is not None
    groups = task.experiment.groups
    turned = replace(groups, by={"group": ["B", "A"]})
    assert done(replace(task, experiment=replace(task.experiment, groups=turned))) is None
    other = tmp_path / f"other-{AS_DEPLOYED}.pt"
    other.write_bytes(b"another host")
    host = replace(task.experiment.host, checkpoint=tmp_path / "other.pt")
    assert done(replace(task, experiment=replace(task.experiment, host=host))) is None
