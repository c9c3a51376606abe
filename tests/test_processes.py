"""Two processes say what one says; started by the launchers themselves, as a user would."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributed import TCPStore

from apple_seg.audit import AuditSettings, audit
from apple_seg.config import read_experiment
from apple_seg.errors import ConfigError, MissingExtraError, ProcessError
from apple_seg.measure import score
from apple_seg.perturb import build_perturber
from apple_seg.processes import ONE, Processes, first_to_fail, launched, leads
from apple_seg.ship import read_artifact, save
from apple_seg.workflow import audit_experiment, compare_experiment, fit_experiment, wrapped
from cohorts import GROUPS, toy_cohort
from launching import launch
from planted import write_experiment

SIZES = {"fewer cases than processes": 1, "a short last batch": 11, "a share more": 12}
SETTINGS = AuditSettings(metrics=("dice", "hd95"), resamples=50, batch_size=4, gallery=1)


def by_batch(cases):
    """Shift the truth by what tells a batch from others: its first case and its length."""
    shift = int(cases[0].key.split("/")[1].split(".")[0]) % 3 + len(cases) % 2
    return [np.roll(case.mask, shift, axis=2) for case in cases]


def say_all(processes):
    """Return what is to be the same in one process and in two."""
    cohort = toy_cohort(12)
    said = {
        name: score(by_batch, toy_cohort(size), batch_size=4, progress=False, processes=processes)
        for name, size in SIZES.items()
    }
    audited = audit(
        by_batch, cohort, GROUPS, settings=SETTINGS, progress=False, processes=processes
    )
    said["pictures"], said["report"] = audited.pictures, audited.to_json()
    return said


def work(folder):
    """Do it in one of several processes; at the end the second one leaves the first alone."""
    processes = launched("cpu")
    said = say_all(processes)
    said["processes"] = processes
    said["gathered"] = processes.gather({"rank": processes.rank})
    said["from main"] = processes.from_main(lambda: processes.rank)
    if processes.main:
        try:
            processes.wait()
        except ProcessError as error:
            said["left"] = str(error)
    (folder / f"{processes.rank}.pickle").write_bytes(pickle.dumps(said))


def test_two_processes_score_and_audit_to_the_last_bit_as_one_does(tmp_path):
    done = launch(__file__, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    first, second = (pickle.loads((tmp_path / f"{rank}.pickle").read_bytes()) for rank in range(2))
    alone = say_all(ONE)
    for name, size in SIZES.items():
        assert len(alone[name]) == size
        for found in (first, second):
            pd.testing.assert_frame_equal(found[name], alone[name], check_exact=True)
        # With other batches it is another table, so that the batches must have been the same.
        other = score(by_batch, toy_cohort(size), batch_size=3, progress=False)
        assert size == 1 or not other["dice"].equals(alone[name]["dice"])
    assert alone["pictures"][0]
    for name in ("pictures", "report"):
        assert first[name] == second[name] == alone[name]
    assert first["processes"] == Processes(0, 2, "cpu")
    assert second["processes"] == Processes(1, 2, "cpu")
    assert first["gathered"] == second["gathered"] == [{"rank": 0}, {"rank": 1}]
    assert first["from main"] == second["from main"] == 0
    assert "process 0 of 2 waits in vain" in first["left"]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """An experiment on disk, and a perturber that changes masks."""
    path = write_experiment(tmp_path_factory.mktemp("processes"))
    loaded = read_experiment(path)
    cohort = loaded.cohort.read()
    torch.manual_seed(1)
    with wrapped(loaded, cohort) as segmentor:
        name = loaded.method.parts.perturber
        sizes = [{"channels": one.channels, "cells": one.cells} for one in segmentor.shapes]
        perturbers = [build_perturber({"name": name, **size}) for size in sizes]
        for weights in (weights for one in perturbers for weights in one.parameters()):
            torch.nn.init.normal_(weights, std=0.2)
        segmentor.install(perturbers)
        file = path.parent / "perturber.safetensors"
        save(segmentor, file, spec=loaded.host, cohort=cohort.digest(), record={})
    return path


def test_the_command_compares_in_two_processes_prints_once_and_counts_one_look(experiment):
    folder = experiment.parent
    # Of one name: the report says it.
    ours, theirs = (folder / f"file-{name}" / "same.safetensors" for name in ("one", "two"))
    for perturber in (ours, theirs):
        perturber.parent.mkdir()
        perturber.write_bytes((folder / "perturber.safetensors").read_bytes())
    alone = compare_experiment(read_experiment(experiment, ["output=one"]), ours, progress=False)
    options = ["-q", "--perturber", theirs, "--set", "output=two"]
    done = launch("-m", "apple_seg", "compare", experiment, *options)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert done.stdout.count("wrote ") == len(alone.files) == 5
    for suffix in ("json", "csv", "html", "md"):
        one, two = (folder / name / f"comparison.{suffix}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    records = [read_artifact(perturber)[0].record for perturber in (ours, theirs)]
    assert records[0] == records[1]
    assert records[0]["audited"] == 1
    assert alone.result.overall.value != 0


def test_the_command_fits_in_two_processes_what_one_fits(experiment):
    folder = experiment.parent
    options = ["fit.epochs=2", "replay.store=disk"]
    alone = fit_experiment(read_experiment(experiment, [*options, "output=a"]), progress=False)
    changes = [f"--set={option}" for option in (*options, "output=b")]
    done = launch("-m", "apple_seg", "fit", experiment, *changes)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == len(alone.files) == 3
    assert done.stderr.count("replay is on") == 1
    fit = json.loads((folder / "b" / "fit.json").read_text())
    ours = alone.result.losses
    for here, there in zip(fit["losses"], ours, strict=True):
        assert here == pytest.approx(there, rel=0.01)
    assert not (folder / "b" / "checkpoint.pt").exists()


BROKEN = """
import os
import torch

class Host(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Conv2d(3, 1, 1)
        self.outer = torch.nn.Conv2d(1, 1, 1)

    def forward(self, images):
        logits = self.outer(self.inner(images))
        # The example at wrapping is one image; after it, one process fails.
        return logits / 0 if os.environ.get("RANK") == "1" and len(images) > 1 else logits
"""


def test_an_error_of_one_process_ends_all_with_its_own_message_once(experiment, monkeypatch):
    (experiment.parent / "broken.py").write_text(BROKEN)
    text = experiment.read_text().split("[host.input]")[1]
    host = '[host]\nfactory = "broken:Host"\n[method]\nsites = [{module="inner"}]\n[host.input]'
    path = experiment.parent / "broken.toml"
    path.write_text(f"{host}{text}")
    monkeypatch.syspath_prepend(path.parent)
    options = ["audit.batch_size=4", "output=sound"]
    audit_experiment(read_experiment(path, options), progress=False)
    options = ["--set", "audit.batch_size=4", "--set", "output=broken"]
    done = launch("-m", "apple_seg", "audit", path, "-q", *options)
    assert done.returncode != 0
    assert done.stderr.count("error: ") == 1, done.stderr
    assert "error: the host's output is not finite for" in done.stderr
    assert "waits in vain" not in done.stderr
    assert (experiment.parent / "sound" / "audit.json").is_file()
    assert not (experiment.parent / "broken").exists()


def test_one_process_asks_nobody():
    assert launched("cpu") == Processes(0, 1, "cpu")
    assert launched("cuda:1").device == "cuda:1"
    assert not torch.distributed.is_initialized()
    assert ONE.main
    assert ONE.gather("value") == ["value"]
    assert ONE.from_main(lambda: "made") == "made"
    assert leads()
    assert first_to_fail()
    assert first_to_fail()


@pytest.fixture
def two(monkeypatch):
    """The environment of the second of two processes."""
    values = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}
    for name, value in (values | {"MASTER_PORT": "1", "LOCAL_WORLD_SIZE": "2000"}).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:0", "2 processes cannot share the device 'cuda:0': set device to 'cuda'"),
        ("mps", "2 processes cannot share the device 'mps'"),
        ("cuda", "2000 processes were started on this machine, which has"),
    ],
)
def test_a_device_that_several_processes_cannot_share_is_refused(two, device, message):
    with pytest.raises(ConfigError, match=message):
        launched(device)
    two.setenv("WORLD_SIZE", "1")
    assert launched(device).device == device


def test_processes_that_cannot_find_each_other_are_not_waited_for(two):
    two.delenv("MASTER_ADDR")
    with pytest.raises(ConfigError, match="WORLD_SIZE is 2, but MASTER_ADDR is not set"):
        launched("cpu")
    assert first_to_fail()  # an error that is said twice is better than one that is lost


def test_several_processes_without_accelerate_say_what_to_install(two):
    two.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingExtraError, match="several processes need accelerate: pip install"):
        launched("cpu")


def test_of_the_processes_that_fail_the_first_reports(two):
    assert not leads()
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    two.setenv("MASTER_PORT", str(store.port))
    assert [first_to_fail() for _ in range(3)] == [True, False, False]


def test_accelerate_that_starts_one_process_where_two_were_asked_for_is_told_of(monkeypatch):
    launched("cpu")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    launched("cpu")  # one was asked for
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.warns(UserWarning, match="started this one only.*give it --multi_gpu"):
        launched("cpu")


if __name__ == "__main__":
    work(Path(sys.argv[1]))
