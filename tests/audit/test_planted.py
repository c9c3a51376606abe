"""On cohorts of planted truth the audit says what is so; the oracle's masks go the whole way."""

from benchmarks.planted import tally

SEEDS = range(100)


def test_where_nothing_is_planted_nothing_is_said():
    found = tally("nothing planted", SEEDS)
    assert found["difference"]["not shown"] >= 93
    assert found["change"]["no detectable change"] >= 93
    assert found["change"].get("improved", 0) <= 5


def test_a_planted_difference_is_found():
    found = tally("a difference of 0.05", SEEDS)
    assert found["difference"]["present"] >= 90
    assert found["change"].get("improved", 0) <= 5


def test_a_better_group_that_lost_is_never_an_improvement():
    said = tally("the better group lost 0.03", SEEDS)["change"]
    assert set(said) <= {"levelled down", "harmed"}
    assert sum(said.values()) == 100


def test_a_worse_group_that_gained_is_an_improvement():
    """The sanity half: an audit that never says `improved` would pass all of the above."""
    assert tally("the worse group gained 0.03", SEEDS)["change"]["improved"] >= 80
