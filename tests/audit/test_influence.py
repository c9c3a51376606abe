import numpy as np
import pytest
import torch
from torch import nn

from apple_seg.audit.sites.advice import Answer, costs_nothing, hears
from apple_seg.audit.sites.influence import Disturb, Erase, choose_by_group, survey_influence
from apple_seg.audit.sites.settings import SurveySettings
from apple_seg.data.sources import MemorySource
from apple_seg.errors import ConfigError, HostError
from cohorts import GROUPS, npy, toy_cohort
from reading_hosts import HalvesHost, ReadingHost, TwoPathHost, reading_pipeline

QUIET = {"progress": False}
MANY = SurveySettings(influence_cases=128)
"""Two cases a patient: that nothing moved in a few patients would prove nothing."""


def test_a_site_that_is_all_a_mask_reads_loses_all_and_one_that_it_hardly_reads_nothing():
    pipeline = reading_pipeline(ReadingHost())
    blue, red = survey_influence(pipeline, toy_cohort(128), GROUPS, settings=MANY, **QUIET)
    # Erased, all of blue is its mean, below the threshold: every mask is empty.
    assert blue.erased.dice_lost.overall.value == pytest.approx(1)
    assert blue.erased.mask_moved.overall.value == pytest.approx(1)
    assert blue.disturbed.mask_moved.overall.low > 0.1
    assert hears(blue) is Answer.YES
    assert not costs_nothing(blue)
    for effect in red.effects.values():
        assert effect.dice_lost.overall.value == effect.mask_moved.overall.value == 0
    assert hears(red) is Answer.NO
    assert costs_nothing(red)


def test_what_is_lost_is_lost_by_the_group_that_reads_there():
    pipeline = reading_pipeline(TwoPathHost())
    first, second = survey_influence(pipeline, toy_cohort(24), GROUPS, **QUIET)
    lost = [one.erased.dice_lost for one in (first, second)]
    means = [[one.by_group[label].value for label in GROUPS.labels] for one in lost]
    np.testing.assert_allclose(means, [[1, 0], [0, 1]], atol=1e-6)
    assert [one.overall.value for one in lost] == pytest.approx([0.5, 0.5])
    # The reference is A: what A loses less what B does.
    assert [one.difference["group = B"].value for one in lost] == pytest.approx([1, -1])


@pytest.mark.parametrize("host", [ReadingHost, HalvesHost])
def test_numbers_do_not_depend_on_the_batch(host):
    pipeline, cohort = reading_pipeline(host()), toy_cohort(20)
    found = [
        survey_influence(pipeline, cohort, GROUPS, settings=SurveySettings(batch_size=n), **QUIET)
        for n in (1, 16)
    ]
    assert repr(found[0]) == repr(found[1])
    other = survey_influence(pipeline, cohort, GROUPS, settings=SurveySettings(seed=1), **QUIET)
    assert other[0].disturbed != found[0][0].disturbed  # and could differ
    assert other[0].erased.mask_moved.overall.value == found[0][0].erased.mask_moved.overall.value


def test_without_true_masks_the_masks_still_move_and_nothing_is_known_to_be_lost():
    pipeline = reading_pipeline(ReadingHost())
    blue, red = survey_influence(
        pipeline, toy_cohort(128, masked=False), GROUPS, settings=MANY, **QUIET
    )
    assert blue.erased.mask_moved.overall.value == pytest.approx(1)
    assert blue.erased.dice_lost.overall.n_cases == 0
    assert np.isnan(blue.erased.dice_lost.overall.value)
    assert hears(red) is Answer.NO
    assert not costs_nothing(red)


def changed(cohort, images, masks):
    """Return the cohort with other pictures, by number."""
    files = dict(cohort.source.files)
    files |= {f"train/{i}.npy": npy(image.astype(np.float32)) for i, image in images.items()}
    files |= {f"train/{i}-mask.npy": npy(mask) for i, mask in masks.items()}
    return type(cohort)(cohort.table, MemorySource(files), cohort.classes)


def test_a_truly_empty_mask_counts_where_it_is_no_longer_left_empty():
    pipeline, draw = reading_pipeline(ReadingHost()), np.random.default_rng(0)
    images = {i: draw.uniform(0, 1.4, (16, 16, 3)) for i in (0, 1)}  # no lesion is drawn
    cohort = changed(toy_cohort(8), images, dict.fromkeys((0, 1), np.zeros((16, 16))))
    blue, _ = survey_influence(pipeline, cohort, GROUPS, **QUIET)
    # Erased, these two stay empty, which is no score; the other six lose all.
    assert blue.erased.dice_lost.overall.n_cases == 6
    assert blue.erased.mask_moved.overall.value == pytest.approx(6 / 8)
    # Disturbed, they have false positives, and lose all.
    assert blue.disturbed.dice_lost.overall.n_cases == 8
    assert blue.disturbed.dice_lost.overall.value > 2 / 8


def test_an_error_in_the_middle_leaves_perturbers_strength_and_hooks_as_they_were():
    pipeline, cohort = reading_pipeline(ReadingHost()), toy_cohort(24)
    segmentor = pipeline.segmentor
    mine = [nn.Conv2d(1, 1, 1), nn.Identity()]
    segmentor.install(mine)
    segmentor.strength = 0.5

    def state():
        hooks = [len(one._forward_hooks) for one in segmentor.host.modules()]
        return hooks, list(segmentor.perturbers), segmentor.strength, segmentor.enabled

    before = state()
    survey_influence(pipeline, cohort, GROUPS, **QUIET)
    assert state() == before
    poisoned = changed(cohort, {20: np.full((16, 16, 3), 99.0)}, {})
    with pytest.raises(RuntimeError, match="poisoned"):
        survey_influence(pipeline, poisoned, GROUPS, **QUIET)
    assert state() == before
    with segmentor.disabled(), pytest.raises(HostError, match="leave disabled"):
        survey_influence(pipeline, cohort, GROUPS, **QUIET)
    segmentor.detach()
    assert not any(one._forward_hooks for one in segmentor.host.modules())


def test_erasing_keeps_each_channels_mean_and_nothing_else():
    latent = torch.rand(2, 3, 4, 5)
    erased = Erase()(latent)
    assert erased.shape == latent.shape
    torch.testing.assert_close(erased[1, 2], latent[1, 2].mean().expand(4, 5))


def test_noise_has_each_channels_deviation_and_half_of_it_is_common_to_its_cells():
    latent = torch.randn(4, 500, 20, 20) * torch.tensor([1.0, 10]).repeat(250)[:, None, None] + 7
    disturb = Disturb(0)
    disturb.expect(["a", "b", "c", "d"])
    noise = (disturb(latent) - latent) / latent.std((2, 3), correction=0, keepdim=True)
    common = noise.mean((2, 3))
    assert float(noise.square().mean()) == pytest.approx(1, abs=0.1)
    assert float(common.square().mean()) == pytest.approx(0.5, abs=0.05)
    assert float(common.mean()) == pytest.approx(0, abs=0.05)
    disturb.expect(["c"])
    alone = disturb(latent[2:3]) - latent[2:3]
    torch.testing.assert_close(alone[0], (noise * latent.std((2, 3), False, True))[2])
    disturb.expect(["b"])
    assert not torch.allclose(disturb(latent[2:3]) - latent[2:3], alone)


@pytest.mark.parametrize(
    ("codes", "limit", "expected"),
    [
        ([0, 0, 0, 0, 0, 0, 1, 1], 4, [0, 5, 6, 7]),  # two each, evenly spaced
        ([0, 0, 0, 0, 0, 1], 4, [0, 2, 4, 5]),  # the rare one is there, the rest is filled up
        ([0, -1, 1, -1], 64, [0, 2]),  # of unknown group is none
        ([-1, -1, -1], 2, [0, 2]),  # unless all are
        ([0, 1, 2, 0], 1, [0, 1, 2]),  # a case of each group, whatever the limit
    ],
)
def test_every_group_has_cases(codes, limit, expected):
    assert choose_by_group(np.array(codes), limit).tolist() == expected


def test_settings_that_cannot_be_met_are_refused():
    for wrong in ({"influence_cases": 0}, {"folds": 1}, {"cases": -1}, {"batch_size": 0}):
        with pytest.raises(ConfigError, match="a survey needs"):
            SurveySettings(**wrong)
    with pytest.raises(ConfigError, match="confidence goes from"):
        SurveySettings(confidence=1.0)
