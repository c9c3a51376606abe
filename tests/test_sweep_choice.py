"""The rule over means, what is said of its choice, the picture of it, and what may be varied."""

import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from apple_seg.config import read_experiment
from apple_seg.errors import ConfigError
from apple_seg.perturb import Candidate
from apple_seg.workflow.sweep import Sweep, plan_sweep
from apple_seg.workflow.sweep.page import sweep_html
from apple_seg.workflow.sweep.picture import pareto
from apple_seg.workflow.sweep.results import SeedFit, Tried, mean_of
from apple_seg.workflow.sweep.words import ranking_table, said, seeds_table
from launching import apple_seg
from planted import EXPERIMENT

HOST = {"A": 0.90, "B": 0.80}


@pytest.fixture
def path(tmp_path):
    (tmp_path / "small.toml").write_text(EXPERIMENT)
    return tmp_path / "small.toml"


def planned(path, *vary, seeds="0,1,2", most=200):
    return plan_sweep(lambda varied: read_experiment(path, varied), vary, seeds, most=most)


def candidate(epoch, by_group):
    return Candidate(epoch, sum(by_group.values()) / len(by_group), by_group)


def swept(path, *found, failed=()):
    """Return a sweep over weights of which each found this of group A and B, seed by seed."""
    weights = ",".join(str(nth / 10) for nth in range(len(found)))
    plan = planned(path, f"method.terms.adversary={weights}", seeds="3,1,2")
    tried = []
    for nth, (combination, seeds) in enumerate(zip(plan.combinations, found, strict=True)):
        fits = [
            SeedFit(
                seed,
                candidate(0, HOST),
                candidate(0 if (a, b) == tuple(HOST.values()) else 2, {"A": a, "B": b}),
                *(0.05, 60.0, 0.0, Path(f"seed-{seed}")),
            )
            for seed, (a, b) in zip(plan.seeds, seeds, strict=True)
        ]
        lost = {1: "the loss is not finite"} if nth in failed else {}
        tried.append(Tried(combination, tuple(fits), lost))
    return Sweep(plan, tuple(tried))


def test_the_choice_is_by_means_over_seeds_and_ships_the_first_seed(path):
    scattered = [(0.90, 0.80), (0.90, 0.91), (0.90, 0.80)]  # the best seed of all: 0.91
    steady = [(0.90, 0.84), (0.90, 0.85), (0.90, 0.86)]  # the best mean: 0.85
    sweep = swept(path, scattered, steady)
    assert max(fit.selected.group_min for fit in sweep.tried[0].fits) == 0.90
    assert sweep.chosen is sweep.tried[1]
    assert sweep.ranking[0].mean.group_min == pytest.approx(0.85)
    assert sweep.shipped == Path("seed-3")  # named first, and its worst
    words = " ".join(said(sweep, "apple-seg compare x.toml"))
    assert "Shipped is its first seed, 3, whose worst group has 0.8400" in words
    assert "The second, adversary=0.0, is 0.0133 below the best" in words
    assert "the test split is: apple-seg compare x.toml" in words
    assert "changes nothing" not in words


def test_a_seed_that_keeps_the_untouched_hosts_vote_is_said_to(path):
    sweep = swept(path, [(0.90, 0.84), (0.90, 0.85), (0.90, 0.86)], [(0.90, 0.83)] * 3)
    tried, other = sweep.tried
    first = replace(tried.fits[0], selected=candidate(0, {"A": 0.90, "B": 0.84}), voted=True)
    voted = replace(sweep, tried=(replace(tried, fits=(first, *tried.fits[1:])), other))
    assert first.kept == "untouched host, by vote"
    words = " ".join(said(voted, "apple-seg compare x.toml"))
    assert "kept the untouched host's vote: no perturber acts in its file" in words
    assert "untouched" not in " ".join(said(sweep, "apple-seg compare x.toml"))


def test_a_vote_is_another_combination_where_there_are_several_views(path):
    assert len(planned(path, "method.vote=true,false").combinations) == 1
    views = 'fit.views=["as-is","flip-w"],["as-is"]'
    assert len(planned(path, "method.vote=true,false", views).combinations) == 3


def test_every_combination_has_a_rule_that_can_choose(path):
    with pytest.raises(ConfigError, match="the rule 'latest'"):
        planned(path, "method.target=masks,host")


def test_what_costs_a_group_more_than_the_margin_is_not_chosen(path):
    costly = [(0.88, 0.87)] * 3
    sweep = swept(path, costly, [(0.90, 0.81)] * 3)
    assert sweep.chosen is sweep.tried[1]
    assert [one.costly for one in sweep.ranking] == [False, False, True]
    words = " ".join(said(sweep, ""))
    assert "The second, the host as deployed, is 0.0100 below" in words
    only = swept(path, costly, [(0.90, 0.79)] * 3)
    assert only.chosen is None
    assert only.shipped is None
    words = " ".join(said(only, ""))
    assert "Nothing was chosen" in words
    assert "worst-group Dice 0.0700 above it, but costs a group up to 0.0200" in words
    assert ranking_table(only).rows[0][0] == "1 host as deployed"


def test_seeds_that_all_kept_the_identity_are_the_host_and_no_candidate(path):
    same = [tuple(HOST.values())] * 3
    sweep = swept(path, same, same)
    assert sweep.chosen is None
    assert "every seed of each kept the identity" in " ".join(said(sweep, ""))
    lucky = swept(path, same, [same[0], (0.9, 0.83), (0.9, 0.83)])
    assert lucky.chosen is lucky.tried[1]
    assert "its file changes nothing" in " ".join(said(lucky, ""))
    one = Candidate(2, 0.1, {"A": 0.1})
    assert mean_of([one] * 3, 0).overall == 0.1
    assert np.mean([0.1] * 3) != 0.1  # the mean that would break ties


def test_a_combination_of_which_a_seed_failed_is_named_and_not_chosen(path):
    sweep = swept(path, [(0.90, 0.89)] * 3, [(0.90, 0.81)] * 3, failed=[0])
    assert sweep.chosen is sweep.tried[1]
    assert "Not fitted, and so not to be chosen: adversary=0.0, seed 1" in " ".join(said(sweep, ""))
    assert swept(path, [(0.90, 0.89)] * 3, [(0.90, 0.81)] * 3).chosen.label == "adversary=0.0"


@pytest.mark.parametrize(("number", "largest"), [(4, 1.0294), (12, 1.6292), (50, 2.2491)])
def test_the_winner_s_curse_is_that_of_normal_means(path, number, largest):
    """The expected largest of so many normal numbers, from tables of order statistics."""
    draw = np.random.default_rng(0)
    found = [[(0.95, 0.85 + 0.01 * z) for z in draw.standard_normal(3)] for _ in range(number)]
    sweep = swept(path, *found)
    spread = np.sqrt(np.mean([np.var([b for _, b in seeds], ddof=1) for seeds in found]))
    assert sweep.noise == pytest.approx(spread)
    assert sweep.flattered == pytest.approx(largest * spread / math.sqrt(3), rel=0.03)
    assert f"about {sweep.flattered:.4f} above the others'" in " ".join(said(sweep, ""))


def test_the_front_holds_what_nothing_beats(path):
    found = [(0.90, 0.85), (0.90, 0.86), (0.97, 0.87), (0.97, 0.86), (0.84, 0.84)]
    sweep = swept(path, *([one] * 3 for one in found))
    front = {one.label for one in sweep.ranking if one.front}
    assert front == {"adversary=0.1", "adversary=0.2", "adversary=0.4"}


def words_of(drawn):
    root = ElementTree.fromstring(drawn)
    return ["".join(one.itertext()) for one in root.iter() if one.tag.endswith("}text")]


def test_the_picture_tells_all_of_it_by_words_and_shapes_too(path):
    draw = np.random.default_rng(0)
    found = [[(0.92 + z / 99, 0.82 + z / 50) for z in draw.normal(size=3)] for _ in range(8)]
    sweep = swept(path, *found)
    drawn = pareto(sweep)
    place = [one.tried for one in sweep.ranking].index(None) + 1
    numbers = [str(number) for number in range(1, 10) if number != place]
    assert set(numbers) <= set(words_of(drawn))
    for entry in ("mean over seeds", "one seed", "host as deployed", "chosen", "Pareto front"):
        assert entry in words_of(drawn)
    told = {one.tag.split("}")[1]: one.text for one in ElementTree.fromstring(drawn)}
    assert told["title"] == "Worst-group Dice against difference, on validation"
    assert f"Chosen is {sweep.ranking[0].label}." in told["desc"]
    page = sweep_html(sweep, said(sweep, ""))
    assert 'role="img" aria-label="Worst-group Dice' in page
    assert drawn in page
    for row in (*ranking_table(sweep).rows, *seeds_table(sweep).rows):
        assert all(f">{cell}<" in page or not cell for cell in row)


def test_a_name_that_is_no_control_is_told_and_the_same_fit_is_made_once(path):
    plan = planned(path, "method.name=apple,segmentation-only", "method.terms.adversary=0,0.1")
    assert len(plan.combinations) == 4
    assert "'segmentation-only' has no term 'adversary' by itself" in " ".join(plan.notes)
    spelt = 'method.perturber={name="lean"},"lean","residual"'
    plan = planned(path, spelt, "method.terms.adversary=0.1,{weight=0.1,entropy=0.2}")
    assert [one.short["perturber"] for one in plan.combinations] == [
        *('{name="lean"}', '{name="lean"}', '"residual"', '"residual"'),
    ]
    assert plan.notes[0] == (
        'perturber="lean", adversary=0.1 is the same fit as perturber={name="lean"}, '
        "adversary=0.1, and done once."
    )
    assert len({one.folder for one in plan.combinations}) == 4
    assert len({one.records for one in plan.combinations}) == 1
    assert len({one.records for one in planned(path, "fit.prompts=1,2").combinations}) == 2


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ((), "nothing to sweep over"),
        (("method.sites",), "TABLE.KEY=VALUE,VALUE"),
        (("method.sites=",), "has no values"),
        (("method.sites=all,,skips",), "has an empty value"),
        (("method.sites=all",), "one value.*fix it with --set method.sites=all"),
        (("method.sites=all,all",), "names all twice"),
        (("method.perturber={name='lean',",), "not closed"),
        (("method.sitess=all,skips",), r"did you mean 'sites'\?"),
        (("metod.sites=all,skips",), r"did you mean 'method'\?"),
        (("method.terms.adversry=0.1,0.2",), r"did you mean 'adversary'\?"),
        (("method.name=apple,appel",), r"with method.name=appel: .*did you mean 'apple'\?"),
        (("host.threshold=0.4,0.5",), "host and cases stay the same"),
        (("fit.seed=1,2",), "named by --seeds"),
        (("fit.margin=0,0.1",), "one for all"),
        (("method.terms={gap=1},{gap=2}", "method.terms.gap=1,2"), "change the same value"),
    ],
)
def test_what_cannot_be_varied_is_refused_before_anything_is_fitted(path, vary, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        planned(path, *vary)


def test_seeds_rules_and_numbers_of_fits_are_checked(path):
    vary = ["method.sites=all,skips", "fit.epochs=1,2,3"]
    assert planned(path, *vary, seeds="0", most=6).fits == 6
    with pytest.raises(ConfigError, match="2 x 3 combinations with 2 seeds each are 12 fits"):
        planned(path, *vary, seeds="0,1", most=11)
    for seeds in ("", "0,0", "a", "-1", "1.5"):
        with pytest.raises(ConfigError, match="different whole numbers"):
            planned(path, *vary, seeds=seeds)
    with pytest.raises(ConfigError, match="the rule 'latest' tells epochs apart"):
        plan_sweep(
            lambda varied: read_experiment(path, ["fit.selection=latest", *varied]),
            *(vary, "0"),
            most=99,
        )


def test_the_command_names_its_faults_in_one_line_and_shows_an_example(path):
    done = apple_seg("sweep", path, "--vary", "method.sitess=all,skips")
    assert done.returncode == 1
    assert "did you mean 'sites'?" in done.stderr
    assert "Traceback" not in done.stderr
    helped = apple_seg("sweep", "--help").stdout
    assert "--vary method.sites=bottleneck,all" in helped
    assert "never the best-looking" in " ".join(helped.split())
