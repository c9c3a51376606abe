"""Records that are not right, or not whole, are never used; what is right is kept."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from apple_seg.data.sources import MemorySource
from apple_seg.errors import StoreError
from apple_seg.host import InputSpec
from apple_seg.replay import ReplaySettings
from cohorts import SPEC, npy, toy_cohort
from deep_fits import SHORT, OtherCode, deep_pipeline, run


@pytest.fixture
def said(capsys):
    return lambda: capsys.readouterr().err


def other_pixels():
    cohort = toy_cohort(24)
    files = {name: cohort.source.open(name) for name in cohort.source.names()}
    files["train/5.npy"] = npy(np.ones((16, 16, 3), np.float32))
    return dataclasses.replace(cohort, source=MemorySource(files))


def other_weight():
    pipeline = deep_pipeline()
    with torch.no_grad():
        pipeline.segmentor.host.decoder.bias += 1e-3
    return pipeline


@pytest.mark.parametrize(
    ("pipeline", "changes", "what"),
    [
        (deep_pipeline, {"train": other_pixels()}, "cases"),
        (other_weight, {}, "host"),
        (
            lambda: deep_pipeline(
                spec=dataclasses.replace(SPEC, input=InputSpec(size=(16, 16), divide=2.0))
            ),
            {},
            "preprocessing",
        ),
        (
            deep_pipeline,
            {"replay": ReplaySettings(store="disk", precision="half")},
            "layout",
        ),
        (deep_pipeline, {"settings": dataclasses.replace(SHORT, views=("flip-w",))}, "views"),
    ],
    ids=["pixels", "weight", "preprocessing", "precision", "views"],
)
def test_records_of_something_else_are_made_anew(pipeline, changes, what, tmp_path, said):
    run(deep_pipeline(), "disk", tmp_path)
    assert "complete" not in said()
    run(deep_pipeline(), "disk", tmp_path)
    assert "replay, train: complete" in said()
    changed = run(pipeline(), "disk", tmp_path, **changes)
    text = said()
    assert f"recorded anew: {what}" in text
    assert "replay, train: recording 24 records" in text
    fresh = run(pipeline(), "disk", tmp_path / "fresh", **changes)
    assert changed.candidates == fresh.candidates


def test_host_with_other_code_and_equal_weights_is_found_out(tmp_path, said):
    run(deep_pipeline(), "disk", tmp_path)
    result = run(deep_pipeline(OtherCode), "disk", tmp_path)
    assert "the records are of other code" in said()
    fresh = run(deep_pipeline(OtherCode), "memory", None)
    assert result.candidates == fresh.candidates


def test_damaged_record_is_recorded_again(tmp_path, said):
    expected = run(deep_pipeline(), "disk", tmp_path)
    (shard,) = (tmp_path / "replay" / "train").glob("shard-*")
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    (tmp_path / "checkpoint.pt").unlink()
    found = run(deep_pipeline(), "disk", tmp_path)
    text = said()
    assert "1 of 24 records are damaged" in text
    assert "replay, train: recording 1 records" in text
    assert found.candidates == expected.candidates


def test_full_disk_ends_the_fit_and_keeps_what_is_there(tmp_path):
    folder = tmp_path / "replay" / "train"
    run(deep_pipeline(), "disk", tmp_path)
    expected = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(tmp_path / "replay" / "validation")
    (tmp_path / "replay" / "validation").mkdir()
    (tmp_path / "replay" / "validation" / "journal-0.txt").symlink_to("/dev/full")
    pipeline = deep_pipeline()
    with pytest.raises(StoreError):
        run(pipeline, "disk", tmp_path)
    assert all(isinstance(one, nn.Identity) for one in pipeline.segmentor.perturbers)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected
