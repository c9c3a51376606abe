"""The ladder's scenarios keep hosts and teams apart, and its comparisons are what they say."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.ladder.auditing import beside
from benchmarks.ladder.rungs import RUNGS, settings_of
from benchmarks.ladder.scenarios import (
    AS_DEPLOYED,
    UNDER_REPRESENTED,
    host_cases,
    seen,
    team_cases,
)
from cohorts import toy_cohort


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


def test_a_run_beside_its_own_control_differs_from_the_mean_by_as_much():
    def table(*dice):
        return pd.DataFrame({"case": ["a", "b"], "dice": dice})

    controls = [table(0.5, 0.7), table(0.7, 0.9)]
    mean, moved = beside(controls, [table(0.6, 0.7), table(0.7, 0.8)])
    assert mean["dice"].tolist() == pytest.approx([0.6, 0.8])
    assert moved[0]["dice"].tolist() == pytest.approx([0.7, 0.8])
    assert moved[1]["dice"].tolist() == pytest.approx([0.6, 0.7])
    assert controls[0]["dice"].tolist() == [0.5, 0.7]


def test_every_rung_has_settings_for_few_and_for_many_cases():
    assert "segmentation-only" in RUNGS
    for rung in RUNGS.values():
        few, many = (settings_of(rung, "unet", cases, 2) for cases in (50, 2000))
        assert few.seed == many.seed == 2
        assert few.draws > 50
        assert many.draws is None
