import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from apple_seg.audit.sites.advice import Answer, advise
from apple_seg.audit.sites.collecting import collect
from apple_seg.audit.sites.leakage import survey_leakage
from apple_seg.audit.sites.settings import SurveySettings
from apple_seg.audit.sites.survey import survey
from apple_seg.audit.sites.tables import survey_text
from apple_seg.data.synthetic import GROUPS as PLANTED
from apple_seg.data.synthetic import Dermoscopy, cohort
from apple_seg.errors import HostError
from apple_seg.files import to_json
from apple_seg.host import HostSpec, InputSpec, Pipeline, find_adapter, prepare, wrap
from apple_seg.measure.probes import CONSTANT
from cohorts import GROUPS, toy_cohort
from hosts import CASES
from reading_hosts import HalvesHost, ReadingHost, reading_pipeline

QUICK = SurveySettings(influence_cases=8, cells=2, folds=2)


def planted(shows):
    """A cohort whose group shows or not, and a UNet of random weights, wrapped at two sites."""
    cases = cohort(Dermoscopy(size=32, shows=shows, disturbs=0, splits={"val": (60, 60)}))
    spec = HostSpec(factory="monai.networks.nets:UNet", input=InputSpec(size=(32, 32), divide=255))
    host = next(one for one in CASES if one.name == "monai-unet").build()
    deepest, *_, shallowest = find_adapter(host).sites(host)
    segmentor = wrap(host, prepare([cases[0]], spec).images, sites=[deepest, shallowest])
    return Pipeline(segmentor, spec, ["lesion"]), cases


def leak(pipeline, cases):
    codes = PLANTED.codes(cases.table)
    return survey_leakage(pipeline, cases, codes, settings=QUICK, progress=False)


@pytest.fixture(scope="module")
def surveyed():
    pipeline = reading_pipeline(ReadingHost())
    cases, settings = toy_cohort(128), replace(QUICK, influence_cases=128)
    return survey(pipeline, cases, GROUPS, settings=settings, shares=[0.1, 0.2], progress=False)


def test_what_shows_is_read_at_every_site_and_what_does_not_at_none():
    for shows, read in ((1.0, True), (0.0, False)):
        found = leak(*planted(shows))
        assert len(found.sites) == 2
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
    clean = collect(pipeline, cases, progress=False)
    mine = [Forget(), Zero()]
    pipeline.segmentor.install(mine)
    again = collect(pipeline, cases, progress=False)
    for before, after in zip(clean.pooled, again.pooled, strict=True):
        np.testing.assert_array_equal(before, after)
    noise, nothing = leak(pipeline, cases).sites
    assert list(pipeline.segmentor.perturbers) == mine
    assert noise.host.linear.low > 0.75
    for one in (noise.perturbed.linear, noise.perturbed.mlp):
        assert one.low < 0.5 < one.high
    assert noise.change["linear"].high < -0.2
    assert advise(noise, None).sentence.endswith("the perturber lowered it")
    assert nothing.host.linear.low > 0.75
    assert nothing.perturbed.linear.reason == CONSTANT
    assert advise(nothing, None).sentence == (
        "not decodable; whether the mask listens was not measured; "
        "the perturber leaves nothing that varies"
    )


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


def test_advice_is_by_what_can_be_read_and_what_is_heard(surveyed):
    blue, red = (one.advice for one in surveyed.sites)
    assert (blue.decodable, blue.heard) == (Answer.NOT_ENOUGH, Answer.YES)
    assert (red.decodable, red.heard) == (Answer.YES, Answer.NO)
    assert red.sentence == (
        "decodable, but the mask does not listen: nothing to gain here; "
        "more than the host's own mask shows"
    )
    assert surveyed.notes == (
        "Probes: 128 of 128 cases (64 of group = A, 64 of group = B); 0 are of unknown group.",
        "Influence: 128 cases (64 of group = A, 64 of group = B).",
    )


def test_a_survey_is_strict_json_and_text(surveyed):
    content = json.loads(to_json(surveyed.to_dict()))
    blue, red = content["sites"]
    assert (blue["site"], red["site"], red["perturber_share"]) == ("blue", "red", 0.2)
    assert red["leakage"]["host"]["linear"]["auc"] == 1
    assert blue["influence"]["erased"]["dice_lost"]["overall"]["value"] == 1
    assert red["advice"]["heard"] == "no"
    assert set(content["masks"]) == {"host", "truth"}
    assert blue["influence"]["erased"]["dice_lost"]["by_group"]["group = B"]["value"] == 1
    shown = Console(file=io.StringIO(), width=200)
    shown.print(survey_text(surveyed))
    for text in ("nothing to gain here", "1.00 [0.94, 1.00]", "true masks", "1.000 [1.000, 1.000]"):
        assert text in shown.file.getvalue()


def test_leakage_needs_no_masks_and_may_be_left_out():
    pipeline, cases = reading_pipeline(ReadingHost()), toy_cohort(40, masked=False)
    found = survey(pipeline, cases, GROUPS, settings=QUICK, progress=False)
    assert found.sites[1].leakage.host.linear.auc == 1
    assert set(found.leakage.masks) == {"host"}
    assert any("No case has a mask" in note for note in found.notes)
    settings = SurveySettings(cases=0, influence_cases=8)
    without = survey(pipeline, cases, GROUPS, settings=settings, progress=False)
    assert without.leakage is None
    assert without.sites[1].advice.sentence == "not enough cases to say whether the mask listens"


def test_too_few_patients_and_unknown_groups_are_said():
    pipeline, cases = reading_pipeline(ReadingHost()), toy_cohort(10)
    table = cases.table.copy()
    table.loc[table.index[:4], "group"] = "unknown"
    part = type(cases)(table, cases.source, cases.classes)
    found = survey(pipeline, part, GROUPS, settings=QUICK, progress=False)
    assert found.sites[1].advice.sentence == "not enough cases to say"
    assert "4 are of unknown group" in found.notes[0]
    assert "fewer than two groups have 4 clusters" in found.notes[1]
    with pipeline.segmentor.disabled(), pytest.raises(HostError, match="leave disabled"):
        survey(pipeline, part, GROUPS, settings=QUICK, progress=False)
