"""The ladder's command line: what is asked for is done, and what is left behind."""

from argparse import Namespace
from dataclasses import replace

import pytest

from apple_seg.config import read_experiment
from apple_seg.errors import AppleSegError
from benchmarks.ladder import __main__ as ladder
from benchmarks.ladder.__main__ import HOSTS
from benchmarks.ladder.fitting import records_of
from benchmarks.ladder.rungs import CONTROL, RUNGS
from climbs import climb_of
from stores import filled


def test_no_audit_before_the_choice_is_committed(monkeypatch):
    monkeypatch.setenv("HAM10000", "nowhere.zip")
    monkeypatch.setattr(ladder, "changed", lambda: True)
    monkeypatch.setattr("sys.argv", ["ladder", "audit"])
    with pytest.raises(AppleSegError, match="commit the choice before"):
        ladder.main()
    monkeypatch.setattr(ladder, "changed", lambda: False)
    with pytest.raises(AppleSegError, match="nowhere"):  # the next thing that it asks for
        ladder.main()


@pytest.mark.parametrize(
    ("by", "labels"),
    [("age", ["age < 60", "age >= 60"]), ("sex", ["sex = female", "sex = male"])],
)
def test_the_groups_are_those_that_are_asked_for(monkeypatch, by, labels):
    monkeypatch.setenv("HAM10000", "nowhere.zip")
    seen_by = []
    monkeypatch.setitem(ladder._ACTIONS, "show", lambda found, _: seen_by.append(found.groups))
    monkeypatch.setattr("sys.argv", ["ladder", "show", "--by", by])
    ladder.main()
    assert [list(groups.labels) for groups in seen_by] == [labels]


def test_records_go_once_no_rung_is_left_that_needs_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HAM10000", "nowhere.zip")
    experiment = replace(read_experiment(HOSTS["unet"]), output=tmp_path)
    climbs = [
        climb_of(experiment, name, cases, seed=seed)
        for cases, names in ((None, [CONTROL, "apple", "fine-tuning", "affine"]), (50, [CONTROL]))
        for seed in (0, 1)
        for name in names
    ]
    there = []

    def climb(task, _cohort, *, progress):
        if records := records_of(task):
            filled(records / "train")
        kept = {path.parent.parent.name for path in tmp_path.rglob("header.json")}
        there.append((task.name, *sorted(kept)))
        return {"fit": None}

    monkeypatch.setattr(ladder, "_climbs", lambda *_: climbs)
    monkeypatch.setattr(ladder, "climb", climb)
    monkeypatch.setattr(ladder, "_said", lambda _: "fitted")
    monkeypatch.setattr(type(experiment.cohort), "read", lambda _: None)
    ladder._fit(experiment, Namespace(quiet=True, keep_records=False))
    bottleneck, stages = (f"as-deployed-{site}-labelled-all" for site in ("bottleneck", "stages"))
    assert there[4:] == [
        (CONTROL, bottleneck, stages),
        ("apple", bottleneck, stages),
        ("fine-tuning", stages),
        ("affine", stages),
        (CONTROL, "as-deployed-stages-labelled-50-0"),
        (CONTROL, "as-deployed-stages-labelled-50-1"),
    ]
    assert not [*tmp_path.rglob("header.json"), *tmp_path.rglob("*.bin")]
    ladder._fit(experiment, Namespace(quiet=True, keep_records=True))
    assert len([*tmp_path.rglob("header.json")]) == 4


def test_what_takes_longest_is_fitted_only_where_it_is_named(monkeypatch):
    monkeypatch.setenv("HAM10000", "nowhere.zip")
    asked = []
    monkeypatch.setitem(ladder._ACTIONS, "fit", lambda _, options: asked.append(options.rungs))
    for named in ([], ["--rungs", "from-scratch", CONTROL]):
        monkeypatch.setattr("sys.argv", ["ladder", "fit", *named])
        ladder.main()
    assert asked == [[name for name in RUNGS if name != "from-scratch"], ["from-scratch", CONTROL]]
