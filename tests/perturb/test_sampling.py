"""Batches are drawn by seed and epoch alone."""

import numpy as np
import pytest

from apple_seg.perturb.sampling import Draw, Sampler, part_of


def sampler(codes=(0, 0, 0, 0, 0, 0, 1, 1, -1), **changes):
    given = {"codes": np.array(codes), "batch_size": 4, "seed": 3}
    return Sampler(**{**given, **changes})


def places(batches):
    return [draw.place for batch in batches for draw in batch]


def test_epoch_has_each_case_once_at_most_and_whole_batches_only():
    batches = sampler().epoch(1)
    assert [len(batch) for batch in batches] == [4, 4]
    assert len({*places(batches)}) == 8


def test_same_epoch_is_drawn_alike_and_another_otherwise():
    assert sampler().epoch(2) == sampler().epoch(2)
    assert sampler().epoch(2) != sampler().epoch(3)
    assert sampler().epoch(2) != sampler(seed=4).epoch(2)


def test_balanced_epochs_draw_groups_equally_often_and_no_unknown():
    codes = np.array([0] * 90 + [1] * 8 + [-1] * 2)
    drawn = places(sampler(codes, balanced=True, batch_size=10).epoch(1))
    assert len(drawn) == 100
    counts = np.bincount(codes[drawn])
    assert list(counts) == [50, 50]
    small = np.bincount(drawn, minlength=100)[90:98]
    assert small.min() >= 50 // 8  # none is left out while another comes again
    assert small.max() <= -(-50 // 8)
    unbalanced = places(sampler(codes, batch_size=10).epoch(1))
    assert list(np.bincount(codes[unbalanced] + 1)) == [2, 90, 8]


def test_cases_with_a_mask_are_drawn_as_often_as_is_asked():
    masked = np.arange(100) < 10
    drawn = places(sampler(np.zeros(100, int), batch_size=10, masked=masked, labelled=0.5).epoch(1))
    counts = np.bincount(drawn, minlength=100)
    assert counts[masked].tolist() == [5] * 10
    assert counts[~masked].sum() == 50
    assert counts[~masked].max() == 1
    alike = places(sampler(np.zeros(100, int), batch_size=10, masked=masked).epoch(1))
    assert masked[alike].sum() == 10


def test_a_longer_epoch_shows_every_case_equally_often_and_a_shorter_one_some():
    long = sampler(draws=25, batch_size=5).epoch(1)
    assert len(long) == 5
    counts = np.bincount(places(long), minlength=9)
    assert counts.sum() == 25
    assert {*counts} == {2, 3}  # 25 draws of 9 cases
    short = places(sampler(draws=5).epoch(1))
    assert len(short) == len({*short}) == 4


def test_views_and_prompts_are_drawn_anew_every_epoch():
    one = sampler(np.zeros(400, int), views=3, prompts=5, batch_size=400)
    (first,), (second,) = one.epoch(1), one.epoch(2)
    views = np.bincount([draw.view for draw in first])
    prompts = np.bincount([draw.prompt for draw in first])
    assert len(views) == 3
    assert views.min() > 80
    assert len(prompts) == 5
    assert prompts.min() > 40
    assert {*first} != {*second}


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_parts_of_all_processes_make_the_batch_in_its_order(processes):
    (batch, *_) = sampler().epoch(1)
    parts = [part_of(batch, rank, processes) for rank in range(processes)]
    assert [draw for part in parts for draw in part] == batch
    assert Draw(5) == (5, 0, 0)
