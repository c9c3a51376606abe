import json

import numpy as np
import pytest
import torch
from torch import nn

from apple_seg.audit.advice import Answer
from apple_seg.audit.collecting import collect
from apple_seg.audit.leakage import survey_leakage
from apple_seg.audit.survey import survey
from apple_seg.audit.survey_settings import SurveySettings
from apple_seg.data.synthetic import GROUPS as PLANTED
from apple_seg.data.synthetic import Dermoscopy, cohort
from apple_seg.errors import HostError
from apple_seg.files import to_json
from apple_seg.host import HostSpec, InputSpec, Pipeline, prepare, wrap
from apple_seg.measure.probes import CONSTANT
from cohorts import GROUPS, toy_cohort
from hosts import CASES
from reading_hosts import HalvesHost, ReadingHost, reading_pipeline

QUICK = SurveySettings(influence_cases=8, cells=2)


def planted(shows):
    """A cohort whose group shows or does not, and a UNet of random weights on it."""
    cases = cohort(Dermoscopy(size=32, shows=shows, disturbs=0, splits={"val": (60, 60)}))
    spec = HostSpec(factory="monai.networks.nets:UNet", input=InputSpec(size=(32, 32), divide=255))
    host = next(one for one in CASES if one.name == "monai-unet").build()
    segmentor = wrap(host, prepare([cases[0]], spec).images, sites="all")
    return Pipeline(segmentor, spec, ["lesion"]), cases


def leak(pipeline, cases, groups=PLANTED, settings=QUICK):
    return survey_leakage(
        pipeline, cases, groups.codes(cases.table), settings=settings, progress=False
    )


def test_what_shows_is_read_at_every_site_and_what_does_not_at_none():
    for shows, read in ((1.0, True), (0.0, False)):
        pipeline, cases = planted(shows)
        found = leak(pipeline, cases)
        assert len(found.sites) == 4
        for site in found.sites:
            assert site.perturbed is None
            for one in (site.host.linear, site.host.mlp, site.host.cells):
                assert (one.low > 0.75) is read, one
                assert read or one.low < 0.5 < one.high
        truth = found.masks["truth"].strongest  # the lesions are drawn alike
        assert truth.low < 0.5 < truth.high


class Forget(nn.Module):
    """Replace a latent by noise that knows nothing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, latent):
        return torch.randn(latent.shape, generator=self.generator)


class Zero(nn.Module):
    def forward(self, latent):
        return torch.zeros_like(latent)


def test_a_perturber_that_erases_leaves_nothing_and_the_clean_latent_is_as_it_was():
    pipeline, cases = planted(1.0)
    clean = leak(pipeline, cases)
    mine = [Forget(), Zero(), nn.Identity(), nn.Identity()]
    pipeline.segmentor.install(mine)
    noise, nothing, *others = leak(pipeline, cases).sites
    assert list(pipeline.segmentor.perturbers) == mine
    assert noise.host == clean.sites[0].host
    assert noise.host.linear.low > 0.75
    for one in (noise.perturbed.linear, noise.perturbed.mlp):
        assert one.low < 0.5 < one.high
    assert noise.change["linear"].high < -0.2
    assert nothing.perturbed.linear.reason == CONSTANT
    assert all(one.perturbed is None and one.host.linear.known for one in others)


def test_strength_is_that_of_the_perturbed_host():
    pipeline, cases = reading_pipeline(ReadingHost()), toy_cohort(40)
    pipeline.segmentor.install([Zero(), Zero()])
    pipeline.segmentor.strength = 0.25
    host = collect(pipeline, cases, progress=False)
    half = collect(pipeline, cases, perturbed=True, progress=False)
    np.testing.assert_allclose(half.pooled[0], 0.75 * host.pooled[0], rtol=1e-5)


@pytest.mark.parametrize("host", [ReadingHost, HalvesHost])
def test_vectors_are_means_and_deviations_over_all_cells_whatever_the_batch(host):
    pipeline, cases = reading_pipeline(host()), toy_cohort(7)
    one, many = (collect(pipeline, cases, batch_size=n, progress=False) for n in (1, 16))
    blue = np.stack([case.image[2].ravel() for case in cases])
    expected = np.stack([blue.mean(1), blue.std(1)], 1)
    np.testing.assert_allclose(one.pooled[0], expected, rtol=1e-5)
    np.testing.assert_allclose(one.pooled[0], many.pooled[0], rtol=1e-6)
    np.testing.assert_array_equal(one.cells[0].values, many.cells[0].values)
    assert one.cells[0].cases.tolist() == np.repeat(np.arange(7), 8).tolist()
    for value, case in zip(one.cells[0].values[:, 0], one.cells[0].cases, strict=True):
        assert np.isclose(blue[case], value).any()
    np.testing.assert_array_equal(one.masks, one.truths)  # this host is always right
    other = collect(pipeline, cases, seed=1, progress=False)
    assert not np.array_equal(one.cells[0].values, other.cells[0].values)


def test_advice_is_by_what_can_be_read_and_what_is_heard():
    pipeline, cases = reading_pipeline(ReadingHost()), toy_cohort(600)
    found = survey(pipeline, cases, GROUPS, settings=QUICK, shares=[0.1, 0.2], progress=False)
    blue, red = (one.advice for one in found.sites)
    assert (blue.decodable, blue.heard) == (Answer.NO, Answer.YES)
    assert blue.sentence == "the mask listens, but the attribute is not decodable here"
    assert (red.decodable, red.heard) == (Answer.YES, Answer.NO)
    assert red.sentence == (
        "decodable, but the mask does not listen: nothing to gain here; "
        "more than the mask itself shows"
    )
    assert [one.perturber_share for one in found.sites] == [0.1, 0.2]
    assert found.notes[0] == (
        "Probes: 600 of 600 cases (300 of group = A, 300 of group = B); 0 are of unknown group."
    )
    few = survey(pipeline, toy_cohort(8), GROUPS, settings=QUICK, progress=False)
    assert few.sites[1].advice.sentence == (
        "the mask does not listen: nothing to gain here, decodable or not"
    )
    assert any("fewer than two groups have 10 clusters" in note for note in few.notes)


def test_a_perturber_is_judged_by_what_it_leaves():
    pipeline, cases = reading_pipeline(ReadingHost()), toy_cohort(60)
    pipeline.segmentor.install([nn.Identity(), Zero()])
    red = survey(pipeline, cases, GROUPS, settings=QUICK, progress=False).sites[1]
    assert red.leakage.host.linear.low > 0.9
    assert red.advice.sentence == (
        "not decodable and not heard: nothing to gain here; "
        "the perturber leaves nothing that varies"
    )


def test_surveys_do_not_depend_on_the_batch_and_are_strict_json_and_bars():
    pipeline, cases = reading_pipeline(ReadingHost()), toy_cohort(60)
    one, many = (
        survey(pipeline, cases, GROUPS, settings=SurveySettings(batch_size=n), progress=False)
        for n in (1, 16)
    )
    for left, right in ((one.leakage_bars(), many.leakage_bars()),):
        assert [bar[:2] for bar in left] == [bar[:2] for bar in right]
        np.testing.assert_allclose([bar[2:] for bar in left], [bar[2:] for bar in right])
    assert [one.sites[i].influence for i in (0, 1)] == [many.sites[i].influence for i in (0, 1)]
    content = json.loads(to_json(one.to_dict()))
    assert [site["site"] for site in content["sites"]] == ["blue", "red"]
    assert content["sites"][1]["leakage"]["host"]["linear"]["auc"] == 1
    assert content["sites"][0]["influence"]["erased"]["dice_lost"]["overall"]["value"] == 1
    assert set(content["masks"]) == {"host", "truth"}
    bars = {(bar.row, bar.series): bar for bar in one.leakage_bars()}
    assert bars["red", "linear"].value == 1
    assert ("masks: host", "mlp") in bars
    lost = {(bar.row, bar.series): bar.value for bar in one.influence_bars()}
    assert lost["blue", "erased Dice lost, group = B"] == 1


def test_leakage_needs_no_masks_and_may_be_left_out():
    pipeline, cases = reading_pipeline(ReadingHost()), toy_cohort(60, masked=False)
    found = survey(pipeline, cases, GROUPS, settings=QUICK, progress=False)
    assert found.sites[1].leakage.host.linear.auc == 1
    assert set(found.leakage.masks) == {"host"}
    assert any("No case has a mask" in note for note in found.notes)
    without = survey(
        pipeline, cases, GROUPS, settings=SurveySettings(cases=0, influence_cases=8), progress=False
    )
    assert without.leakage is None
    assert without.leakage_bars() == []
    assert without.sites[1].advice.sentence == "the mask does not listen: nothing to gain here"


def test_a_disabled_host_is_refused_and_unknown_groups_are_left_out():
    pipeline, cases = reading_pipeline(ReadingHost()), toy_cohort(40)
    with pipeline.segmentor.disabled(), pytest.raises(HostError, match="leave disabled"):
        survey(pipeline, cases, GROUPS, settings=QUICK, progress=False)
    table = cases.table.copy()
    table.loc[table.index[:10], "group"] = "unknown"
    part = type(cases)(table, cases.source, cases.classes)
    found = survey(pipeline, part, GROUPS, settings=QUICK, progress=False)
    assert found.sites[0].leakage.host.linear.n_cases == 30
    assert "10 are of unknown group" in found.notes[0]
