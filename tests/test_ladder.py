"""The ladder's scenarios keep hosts and teams apart, and its comparisons are what they say."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from apple_seg.config import read_experiment
from apple_seg.files import to_json
from benchmarks.ladder import auditing, picture, probing, tables
from benchmarks.ladder.__main__ import HOSTS
from benchmarks.ladder.auditing import audit_rung, beside, scores_file
from benchmarks.ladder.climbs import Climb
from benchmarks.ladder.fitting import train_cases
from benchmarks.ladder.rungs import CONTROL, RUNGS, VIEWS, settings_of
from benchmarks.ladder.scenarios import (
    AS_DEPLOYED,
    UNDER_REPRESENTED,
    host_cases,
    seen,
    team_cases,
)
from climbs import climb_of
from cohorts import GROUPS, toy_cohort


@pytest.fixture
def train():
    """Forty cases of twenty patients; one in four of unknown age."""
    cohort = toy_cohort(40)
    ages = np.resize(["35", "", "60", "85"], 40)
    return type(cohort)(cohort.table.assign(age=ages), cohort.source, cohort.classes)


def test_no_case_of_a_patient_who_trained_the_host_is_fitted_on(train):
    host, team = host_cases(train, AS_DEPLOYED), team_cases(train, None, 0)
    assert len(host) + len(team) == len(train)
    assert not {*host.clusters} & {*team.clusters}
    assert len({*host.clusters}) == len({*team.clusters})
    assert host_cases(train, AS_DEPLOYED).digest() == host.digest()


def test_an_under_represented_group_is_of_no_age_that_the_host_has_seen(train):
    host = host_cases(train, UNDER_REPRESENTED)
    assert 0 < len(host) < len(host_cases(train, AS_DEPLOYED))
    assert {*host.table["age"]} == {"35"}
    assert {*seen(train, UNDER_REPRESENTED).table["age"]} == {"35"}
    assert {*team_cases(train, None, 0).table["age"]} == {"35", "", "60", "85"}


def test_a_smaller_draw_is_part_of_a_larger_one_and_another_seed_draws_others(train):
    def keys(number, seed):
        return {*team_cases(train, number, seed).table["case"]}

    assert keys(5, 1) < keys(10, 1) < keys(None, 1)
    assert len(keys(5, 1)) == 5
    assert keys(10, 1) != keys(10, 2)
    assert keys(None, 1) == keys(None, 2)


def test_a_run_beside_its_own_control_is_measured_case_by_case_and_by_seed():
    cases = toy_cohort(40)
    keys = cases.table[["case", "cluster"]].reset_index(drop=True)
    more = {"class": "lesion", "truth_size": 9, "predicted_size": 9, "unit": "px"}
    draw = np.random.default_rng(0)

    def table(dice):
        return keys.assign(**more, dice=dice)

    # Where a control has nearly all and its run more, nothing runs out of the range of a Dice.
    controls = [table(draw.uniform(0.9, 1, 40)) for _ in range(2)]
    runs = [table(np.minimum(one["dice"] + 0.05, 1)) for one in controls]
    found = beside(controls, runs, cases, GROUPS)
    by_hand = np.mean([run["dice"] - one["dice"] for run, one in zip(runs, controls, strict=True)])
    assert found["overall"]["value"] == pytest.approx(by_hand)
    assert found["overall"]["low"] < by_hand < found["overall"]["high"]
    (difference,) = found["difference"].values()
    groups = found["by_group"]
    assert difference["value"] == pytest.approx(
        groups["group = A"]["value"] - groups["group = B"]["value"]
    )
    with pytest.raises(ValueError, match="of other cases"):
        beside(controls, [one.iloc[::-1].reset_index(drop=True) for one in runs], cases, GROUPS)


@pytest.mark.parametrize(
    ("images", "cases", "masks"), [("labelled", 5, 5), ("unlabelled", 5, 0), ("both", 20, 5)]
)
def test_a_rung_has_the_masks_that_it_says_it_has(train, images, cases, masks, monkeypatch):
    monkeypatch.setenv("HAM10000", "nowhere.zip")
    rung = replace(RUNGS[CONTROL], images=images)
    climb = Climb(
        experiment=read_experiment(HOSTS["unet"]),
        scenario=AS_DEPLOYED,
        cases=5,
        name="some",
        rung=rung,
        settings=settings_of(rung, 5, 1),
    )
    found = train_cases(climb, train)
    assert len(found) == cases
    shown = found.table[found.table["mask"] != ""]
    assert len(shown) == masks
    assert {*shown["case"]} <= {*team_cases(train, 5, 1).table["case"]}
    assert {*found.table["case"]} <= {*team_cases(train, None, 0).table["case"]}


def test_every_rung_has_settings_for_few_and_for_many_cases():
    assert "segmentation-only" in RUNGS
    for rung in RUNGS.values():
        few, many = (settings_of(rung, cases, 2) for cases in (50, 2000))
        assert few.seed == many.seed == 2
        assert rung.images == "both" or few.draws > 50
        assert many.draws is None
        halfway = settings_of(rung, 500, 2)
        assert rung.images == "both" or halfway.draws == few.draws
        assert halfway.learning_rate in (few.learning_rate, many.learning_rate)
        sam_few, sam_many = (settings_of(rung, cases, 2, host="sam") for cases in (50, 2000))
        for cases, host in itertools.product((50, 500, 2000), ("unet", "sam")):
            if rung.weights_of:  # the same weights, so fitted just so
                assert settings_of(rung, cases, 2, host=host) == settings_of(
                    RUNGS[rung.weights_of], cases, 2, host=host
                )
        own = "epochs" in rung.settings
        assert sam_many.epochs == (many.epochs if own else 2)
        assert (sam_few.epochs == few.epochs) == (own or rung.images != "both")


def test_a_hosts_file_names_the_perturber_where_a_rung_has_the_default_one(monkeypatch):
    monkeypatch.setenv("HAM10000", "nowhere.zip")
    unet, sam = (read_experiment(HOSTS[name]) for name in ("unet", "sam"))
    assert climb_of(unet, CONTROL).method == RUNGS[CONTROL].method
    named = climb_of(sam, CONTROL).method.parts.perturber
    assert (
        named == climb_of(sam, "worst-group").method.parts.perturber == {"name": "lean", "rank": 8}
    )
    assert climb_of(sam, CONTROL).identity != climb_of(unet, CONTROL).identity
    for other in ("apple", "affine", "leace", "fine-tuning"):
        assert climb_of(sam, other).method == RUNGS[other].method


@pytest.fixture
def cell(monkeypatch):
    """The control and the default, fitted with two seeds; each run is 0.1 above its control."""
    monkeypatch.setenv("HAM10000", "nowhere.zip")
    experiment = read_experiment(HOSTS["unet"])
    cases = toy_cohort(60)
    ages = np.resize(["35", "60"], 60)
    cases = type(cases)(cases.table.assign(age=ages), cases.source, cases.classes)
    noise = np.random.default_rng(0).normal(0, 0.01, 60)
    base = np.where(ages == "35", 0.8, 0.6) + noise

    def told(dice):
        keys = cases.table[["case", "cluster"]].reset_index(drop=True)
        more = {"class": "lesion", "truth_size": 9, "predicted_size": 9, "unit": "px"}
        return keys.assign(**more, dice=dice)

    def scored(climb, _cases):
        gain = {"control": 0.0, "better": 0.1}[climb.name] + 0.01 * climb.settings.seed
        return told(base + gain)

    monkeypatch.setattr(auditing, "scores", scored)
    monkeypatch.setattr(auditing, "host_scores", lambda _climb, _cases: told(base))
    climbs = {
        name: [replace(climb_of(experiment, CONTROL, seed=seed), name=name) for seed in (0, 1)]
        for name in ("control", "better")
    }
    return climbs, cases


def test_a_rung_stands_beside_its_host_and_beside_the_same_seeds_of_another(cell):
    climbs, cases = cell
    audit = audit_rung(climbs["better"], {"control": climbs["control"]}, cases)
    against_host = audit["against_host"]["change"]["by_group"]["age >= 60"]
    against_control = audit["against"]["control"]["change"]["by_group"]["age >= 60"]
    assert against_host["value"] == pytest.approx(0.105)
    assert against_control["value"] == pytest.approx(0.1)
    assert against_control["low"] == pytest.approx(0.1)  # seeds move both alike
    assert against_host["low"] < 0.1
    assert len(audit["by_seed"]) == 2
    assert audit["by_seed"][1]["change"]["overall"]["value"] == pytest.approx(0.11)


def test_tables_and_picture_show_what_the_audit_says(cell, monkeypatch):
    climbs, cases = cell
    for module in (tables, picture):
        monkeypatch.setattr(module, "RUNGS", dict.fromkeys(climbs))
        monkeypatch.setattr(module, "CONTROL", "control")
        monkeypatch.setattr(module, "DEFAULT", "better")
    fit = {"kept": 3, "seconds": 100.0}
    told = {
        "host": "unet",
        "scenario": AS_DEPLOYED,
        "cases": "all",
        "attribute": "age",
        "seeds": [0, 1],
        "trained_parameters": 30,
        "host_parameters": 1000,
        "fits": [fit, {**fit, "kept": 0}],
    }
    others = {"control": climbs["control"]}
    results = [
        {**told, "rung": "better", "audit": audit_rung(climbs["better"], others, cases)},
        {**told, "rung": "control", "audit": audit_rung(climbs["control"], {}, cases)},
    ]
    text = tables.whole({"cell": results})
    identity, control, better = text.splitlines()[4:7]
    assert "unet, as-deployed, fitted on all cases, by age, 2 seeds" in text
    assert identity.startswith("| identity | 0 |")
    assert control.startswith("| control | 3.0% | 3, 0 |")
    assert "+0.1000 [+0.1000, +0.1000]" in better  # above the control
    assert "+0.1000 [+0.1000, +0.1000]" in control  # and the default above it
    assert "**better**" in better
    monkeypatch.setattr(tables, "_BRIEF", ("absent", "better"))
    header, _, row, *_, gap = tables.brief({"cell": results}).splitlines()
    assert "| identity | absent | **better** |" in header
    assert gap.startswith("| unet, as-deployed, all cases, by age | 0.19")
    assert gap.endswith(" |  | +0.0000 [+0.0000, +0.0000] |")
    turned = json.loads(to_json(results[0]))
    for block in (turned["audit"]["against_host"][name] for name in ("host", "change")):
        (difference,) = block["difference"].values()
        difference.update(value=-0.2, low=-0.3, high=0.1)
    assert "| 0.2000 |  | +0.2000 [-0.1000, +0.3000] |" in tables.brief({"cell": [turned]})
    assert tables.gap(turned, "host") == 0.2
    assert row.startswith("| unet, as-deployed, all cases | age >= 60 | 0.6027 |  | +0.1050 [")
    assert row.endswith("], not enough cases | 3.0% |")
    assert "above *peer*" not in text
    peered = audit_rung(climbs["better"], {"peer": climbs["control"]}, cases)
    monkeypatch.setattr(tables, "DEFAULT", "another")
    own = tables.whole({"cell": [{**results[0], "audit": peered}]})
    assert "\n\n*better* above *peer*, age >= 60: +0.1000 [+0.1000, +0.1000].\n" in own
    assert picture.pareto([results]).startswith("<svg")
    moved = {**results[0], "audit": audit_rung(climbs["control"], {}, cases)}
    assert picture.digest([results]) == picture.digest([list(results)])
    assert picture.digest([results]) != picture.digest([[moved, results[1]]])


def test_a_site_that_is_not_erased_stands_out():
    def read(host, perturbed):
        kinds = ("linear", "mlp", "cells")
        return {
            "host": {kind: {"auc": host} for kind in kinds},
            "perturbed": {kind: {"auc": perturbed} for kind in kinds},
        }

    result = {
        "host": "unet",
        "scenario": AS_DEPLOYED,
        "cases": "all",
        "rung": "leace",
        "sites": [{"site": "deep", **read(0.7, 0.5)}, {"site": "skip", **read(0.7, 0.56)}],
        "masks": read(0.6, 0.61),
        "validation": [
            {"overall": 0.9, "by_group": {"young": 0.95, "old": 0.85}},
            {"overall": 0.89, "by_group": {"young": 0.94, "old": 0.846}},
        ],
    }
    deep, skip = probing.table([result]).splitlines()[-2:]
    assert "| deep | 0.70 to 0.50 |" in deep
    assert "| 0.60 to **0.61** | -0.0100 | -0.0040 |" in deep
    assert "| skip | 0.70 to **0.56** |" in skip


def test_scores_of_other_weights_are_not_taken_for_these(tmp_path):
    weights = tmp_path / "seed-0.pt"
    weights.write_bytes(b"one")
    first = scores_file(tmp_path, weights)
    weights.write_bytes(b"another")
    assert scores_file(tmp_path, weights) != first
    weights.write_bytes(b"one")
    assert scores_file(tmp_path, weights) == first
    assert scores_file(tmp_path, weights, VIEWS) != first
