"""A fit that was killed goes on to the very weights of one that was not."""

import dataclasses
import json
import multiprocessing
import random
import time

import pytest
import torch

import fits
from apple_seg.errors import FitError
from apple_seg.perturb import FitSettings
from fits import SETTINGS, fit_to_file, fit_toy

_KILLS = 20
_PRELOADED = ["fits", "accelerate", "monai.losses.dice", "monai.metrics.meandice", "torch._dynamo"]


@pytest.fixture(scope="module")
def processes():
    """Processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def start(processes, folder, out):
    process = processes.Process(target=fit_to_file, args=(str(folder), str(out)))
    process.start()
    return process


def test_fit_killed_at_random_moments_ends_with_the_weights_of_an_unbroken_one(processes, tmp_path):
    expected = tmp_path / "expected.pt"
    warm = start(processes, tmp_path / "warm", tmp_path / "warm.pt")
    warm.join()
    began = time.perf_counter()
    unbroken = start(processes, tmp_path / "unbroken", expected)
    unbroken.join()
    duration = time.perf_counter() - began
    assert unbroken.exitcode == 0
    draw, killed, chain = random.Random(0), 0, 0
    while killed < _KILLS:
        chain += 1
        assert chain <= 4 * _KILLS  # else it ends before it can be killed
        folder, out = tmp_path / f"chain-{chain}", tmp_path / f"{chain}.pt"
        while (process := start(processes, folder, out)).is_alive():
            process.join(draw.uniform(0.05, 0.9) * duration)
            if not process.is_alive():
                break
            process.kill()
            process.join()
            killed += 1
        assert process.exitcode == 0
        found = torch.load(out, weights_only=True)
        torch.testing.assert_close(found, torch.load(expected, weights_only=True), rtol=0, atol=0)


def test_resumed_epochs_are_not_run_again(tmp_path, monkeypatch):
    seen = []
    real = fits.fit.__globals__["_Fit"]._train_epoch

    def counted(self, feed, stepper, epoch):
        seen.append(epoch)
        if epoch == 3 and seen.count(3) == 1:
            raise KeyboardInterrupt
        return real(self, feed, stepper, epoch)

    monkeypatch.setattr(fits.fit.__globals__["_Fit"], "_train_epoch", counted)
    with pytest.raises(KeyboardInterrupt):
        fit_toy(tmp_path)
    fit_toy(tmp_path)
    assert seen == [1, 2, 3, 3, 4]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line.get("epoch") for line in lines] == [None, 0, 1, 2, 3, 4]


def test_other_settings_start_anew_and_say_what_is_other(tmp_path, capsys):
    fit_toy(tmp_path)
    longer = dataclasses.replace(SETTINGS, epochs=5)
    result, _ = fit_toy(tmp_path, settings=longer, progress=True)
    assert len(result.candidates) == 6
    said = capsys.readouterr().err
    assert "is of another fit (other settings); starting anew" in said
    assert "replay, train: complete" in said


def test_damaged_checkpoint_is_said_and_left_aside(tmp_path, capsys):
    _, expected = fit_toy(tmp_path)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-100])
    _, found = fit_toy(tmp_path, progress=True)
    assert "cannot be read" in capsys.readouterr().err
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_without_a_folder_nothing_is_written_and_the_weights_are_the_same(tmp_path):
    _, expected = fit_toy(tmp_path)
    _, found = fit_toy(None, store="memory")
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    real = torch.save

    def fail(content, path):
        if len(content["candidates"]) == 3:
            raise OSError(28, "No space left on device")
        real(content, path)

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(FitError, match=r"No space left on device. The last one is still there"):
        fit_toy(tmp_path)
    monkeypatch.undo()
    _, found = fit_toy(tmp_path)
    _, expected = fit_toy(None, store="memory")
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_patience_ends_a_fit_that_the_rule_keeps_nothing_of():
    never = FitSettings(epochs=9, batch_size=8, learning_rate=1e-9, patience=2)
    result, _ = fit_toy(None, store="off", settings=never)
    assert len(result.candidates) < 10
    kept = result.selected.epoch
    assert len(result.candidates) - 1 == kept + 2
