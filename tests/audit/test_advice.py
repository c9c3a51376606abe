import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from apple_seg.audit.inference.figures import Design, disaggregate
from apple_seg.audit.report.sites import sites
from apple_seg.audit.sites.advice import Answer, advise, promise
from apple_seg.audit.sites.influence import Effect, SiteInfluence
from apple_seg.audit.sites.leakage import LatentLeakage, SiteLeakage
from apple_seg.audit.sites.tables import survey_text
from apple_seg.measure.auc import AucChange
from apple_seg.measure.probes import Leakage
from reports import site_survey

DESIGN = Design(
    codes=np.arange(80) % 2,
    clusters=np.arange(80),
    labels=("A", "B"),
    reference=0,
    confidence=0.95,
    resamples=0,
    seed=0,
)
NOISE = np.random.default_rng(0).normal(size=80)


def read(low, high, kind="linear"):
    counts = {"confidence": 0.95, "n_cases": 400, "n_clusters": 400}
    return Leakage(kind=kind, auc=(low + high) / 2, low=low, high=high, **counts)


def latent(linear, mlp):
    return LatentLeakage(linear=read(*linear), mlp=read(*mlp, "mlp"), cells=read(0.4, 0.6))


def influence(moved, lost=0.0, *, spread=0.001, only=None):
    """Every mask moves about so far, those of group B only if so said."""
    here = 1.0 if only is None else DESIGN.codes == only
    effect = Effect(
        dice_lost=disaggregate((lost + spread * NOISE) * here, DESIGN),
        mask_moved=disaggregate((moved + spread * NOISE) * here, DESIGN),
    )
    still = Effect(
        dice_lost=disaggregate(0 * NOISE, DESIGN), mask_moved=disaggregate(0 * NOISE, DESIGN)
    )
    return SiteInfluence(erased=still, disturbed=effect)


READ, UNREAD, UNTOLD = ((0.6, 0.7), (0.49, 0.6)), ((0.4, 0.58),) * 2, ((0.4, 0.62),) * 2
LISTENS, DEAF, UNSURE = influence(0.05, 0.05), influence(0.002), influence(0.01, spread=0.05)


@pytest.mark.parametrize(
    ("probes", "heard", "sentence"),
    [
        (READ, LISTENS, "decodable and heard: a perturber can act here"),
        (READ, DEAF, "decodable, but the mask does not listen: nothing to gain here"),
        (READ, UNSURE, "decodable; not enough cases to say whether the mask listens"),
        (READ, None, "decodable; whether the mask listens was not measured"),
        (UNREAD, LISTENS, "the mask listens, but the attribute is not decodable here"),
        (UNREAD, DEAF, "not decodable and not heard: nothing to gain here"),
        (UNREAD, UNSURE, "not decodable; not enough cases to say whether the mask listens"),
        (UNTOLD, LISTENS, "the mask listens; not enough cases to say whether the attribute is"),
        (UNTOLD, DEAF, "the mask does not listen: nothing to gain here, decodable or not"),
        (UNTOLD, UNSURE, "not enough cases to say"),
        (None, LISTENS, "the mask listens; what the latent gives away was not measured"),
        (None, DEAF, "the mask does not listen: nothing to gain here"),
        (None, None, "nothing was measured here"),
    ],
)
def test_each_answer_has_its_sentence(probes, heard, sentence):
    leakage = None if probes is None else SiteLeakage(host=latent(*probes))
    assert advise(leakage, heard).sentence.startswith(sentence)


def test_one_group_that_is_heard_is_enough():
    found = advise(None, influence(0.018, only=1))
    assert found.heard is Answer.YES
    # Overall it moves by 0.009, which alone would be too little.
    assert advise(None, influence(0.009)).heard is Answer.NO


@pytest.mark.parametrize(
    ("beyond", "said"),
    [
        ((0.05, 0.01, 0.09), "more than the host's own mask shows"),
        ((0.005, 0.001, 0.009), "no more than the host's own mask shows"),
        ((-0.05, -0.1, 0.0), "no more than the host's own mask shows"),
        (
            (0.05, -0.02, 0.12),
            "not enough cases to say whether more than the host's own mask shows",
        ),
    ],
)
def test_what_a_latent_gives_away_is_compared_with_the_masks(beyond, said):
    leakage = SiteLeakage(host=latent(*READ), beyond_mask=AucChange(*beyond))
    assert advise(leakage, LISTENS).sentence.split("; ")[1:] == [said]
    unread = SiteLeakage(host=latent(*UNREAD), beyond_mask=AucChange(*beyond))
    assert "mask itself shows" not in advise(unread, LISTENS).sentence


def test_masks_that_move_and_lose_nothing_are_said_to():
    said = "without it masks move, but lose less than 0.01 Dice on average"
    assert said in advise(None, influence(0.05, 0.001)).sentence
    assert said not in advise(None, influence(0.05, 0.05)).sentence
    assert said not in advise(None, influence(0.05, -0.05)).sentence  # gains are heard too


def erased(moved):
    """Every mask moves about so far when the site is erased."""
    return SiteInfluence(erased=influence(moved).disturbed, disturbed=influence(moved).disturbed)


def test_promise_is_what_is_read_beyond_chance_times_what_moves_and_no_comes_last():
    some, more = latent((0.6, 0.7), (0.49, 0.6)), latent((0.75, 0.85), (0.49, 0.6))
    ranked = [
        (SiteLeakage(host=more), erased(0.4)),  # 0.3 x 0.4
        (SiteLeakage(host=some), erased(0.4)),  # 0.15 x 0.4
        (SiteLeakage(host=more), erased(0.1)),  # 0.3 x 0.1
        (SiteLeakage(host=latent(*UNTOLD)), erased(0.9)),  # whether it is read cannot be told
        (SiteLeakage(host=latent(*UNREAD)), erased(0.9)),
        (SiteLeakage(host=more), erased(0.002)),
    ]
    found = [promise(*one) for one in ranked]
    assert [said for said, _ in found] == [2, 2, 2, 1, 0, 0]
    products = [product for _, product in found]
    assert products[:3] == pytest.approx([0.12, 0.06, 0.03], abs=0.001)
    assert found[:4] == sorted(found[:4], reverse=True)
    # With a perturber, what is left to be read counts; what was not measured promises nothing.
    read = SiteLeakage(host=latent(*READ), perturbed=latent(*UNREAD))
    assert promise(read, erased(0.4))[0] == 0
    assert promise(None, None) == (1, 0.0)


def test_readers_get_the_most_promising_site_first_and_files_the_order_of_the_host():
    survey = site_survey()
    strong = SiteLeakage(host=latent((0.85, 0.95), (0.49, 0.6)))
    survey = replace(
        survey, sites=(survey.sites[0], replace(survey.sites[1], site="deep", leakage=strong))
    )
    assert [one.site for one in survey.by_promise.sites] == ["deep", survey.sites[0].site]
    assert survey.to_dict()["sites"][1]["site"] == "deep"
    table = sites(survey).blocks[2].table
    assert table.rows[0][0] == "1: deep"
    assert table.rows[1][0].startswith("2: encoder.blocks.0")
    printed = Console(file=io.StringIO(), width=200)
    printed.print(survey_text(survey))
    said = printed.file.getvalue()
    assert said.index("deep") < said.index("encoder.blocks.0")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((-0.1, -0.15, -0.05), "the perturber lowered it"),
        ((0.1, 0.05, 0.15), "the perturber raised it"),
        ((0.0, -0.05, 0.05), "not enough cases to say whether the perturber changed it"),
    ],
)
def test_a_perturbed_latent_is_what_is_judged(change, said):
    leakage = SiteLeakage(
        host=latent(*READ), perturbed=latent(*UNREAD), change={"linear": AucChange(*change)}
    )
    found = advise(leakage, LISTENS)
    assert found.decodable is Answer.NO
    assert found.sentence.endswith(said)
