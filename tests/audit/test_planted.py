"""On cohorts of planted truth the audit says what is so; the oracle's masks go the whole way."""

import pytest

from benchmarks.planted import SCENARIOS, tally

SEEDS = range(100)


@pytest.fixture(scope="module")
def counted():
    return {name: tally(name, SEEDS) for name in SCENARIOS}


def test_where_nothing_is_planted_nothing_is_said(counted):
    found = counted["nothing planted"]
    assert found["difference"]["not shown"] >= 93
    assert found["change"]["no detectable change"] >= 93
    assert found["change"].get("improved", 0) <= 5


def test_a_planted_difference_is_found(counted):
    assert counted["a difference of 0.05"]["difference"]["present"] >= 90
    assert counted["a difference of 0.05"]["change"].get("improved", 0) <= 5


def test_a_better_group_that_lost_is_never_an_improvement(counted):
    said = counted["the better group lost 0.03"]["change"]
    assert set(said) <= {"levelled down", "harmed"}
    assert sum(said.values()) == 100


def test_a_worse_group_that_gained_is_an_improvement(counted):
    """The sanity half: an audit that never says `improved` would pass all of the above."""
    assert counted["the worse group gained 0.03"]["change"]["improved"] >= 80
