"""Two processes fit what one fits with the same batches, to float tolerance."""

import pytest
import torch

import fits
from launching import launch


def outcome(path):
    return torch.load(path, weights_only=True)


def gradients(folder):
    """Return the first moments of Adam after one step: a tenth of the batch's gradients."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)["state"]["optimizer"]["state"]
    return [one["exp_avg"] for one in state.values()]


def test_gradient_of_two_processes_is_that_of_the_whole_batch(tmp_path):
    """The adversary's batch norm and the Dice are of all 48 cases, not of a half each."""
    two, one, half = (tmp_path / name for name in ("two", "one", "half"))
    done = launch(fits.__file__, two, two / "out.pt", "off", 1, 48)
    assert done.returncode == 0, done.stderr
    fits.fit_to_file(one, one / "out.pt", "off", 1, 48)
    fits.fit_to_file(half, half / "out.pt", "off", 1, 24)
    found, expected = outcome(two / "out.pt"), outcome(one / "out.pt")
    assert found["losses"][0] == pytest.approx(expected["losses"][0], rel=1e-5)
    assert outcome(half / "out.pt")["losses"][0] != pytest.approx(expected["losses"][0], rel=1e-3)
    scale = max(float(gradient.norm()) for gradient in gradients(one))
    assert scale > 1e-4
    for here, there in zip(gradients(two), gradients(one), strict=True):
        assert float((here - there).norm()) < 1e-4 * scale


def test_fit_of_two_processes_ends_as_that_of_one(tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    done = launch(fits.__file__, two, two / "out.pt")
    assert done.returncode == 0, done.stderr
    fits.fit_to_file(one, one / "out.pt")
    found, expected = outcome(two / "out.pt"), outcome(one / "out.pt")
    for here, there in zip(found["losses"], expected["losses"], strict=True):
        assert here == pytest.approx(there, rel=0.01)
    for here, there in zip(found["candidates"], expected["candidates"], strict=True):
        assert here == pytest.approx(there, abs=0.02)
    assert (two / "replay" / "train" / "journal-1.txt").read_text()  # both have recorded


def test_batch_that_two_processes_cannot_share_is_refused(tmp_path):
    done = launch(fits.__file__, tmp_path, tmp_path / "out.pt", "off", 1, 9)
    assert done.returncode != 0
    assert "a batch of 9 cases cannot be shared evenly by 2 processes" in done.stderr
