"""Climbs of the ladder, for tests."""

from dataclasses import replace

from benchmarks.ladder.climbs import Climb
from benchmarks.ladder.rungs import RUNGS, settings_of
from benchmarks.ladder.scenarios import AS_DEPLOYED


def climb_of(experiment, name, cases=None, seed=0, settings=None):
    """One step up the ladder of a host as deployed, of all cases or of so many."""
    rung = RUNGS[name]
    return Climb(
        experiment=experiment,
        scenario=AS_DEPLOYED,
        cases=cases,
        name=name,
        rung=rung,
        settings=replace(settings or settings_of(rung, cases or 2000, seed), seed=seed),
    )
