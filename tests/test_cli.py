"""The commands, in processes of their own, on a small planted cohort."""

import json
from importlib.metadata import version

import pytest
import torch

from apple_seg import save
from apple_seg.config import read_experiment
from apple_seg.perturb import build_perturber
from apple_seg.workflow import wrapped
from launching import apple_seg
from planted import write_experiment


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cohort, a host with random weights, and an experiment file."""
    folder = tmp_path_factory.mktemp("cli")
    write_experiment(folder)
    return folder


def test_fit_compare_and_attach_in_processes_of_their_own(folder):
    experiment = folder / "small.toml"
    before = (folder / "host.pt").read_bytes()
    fitted = apple_seg("fit", experiment, "-q")
    assert fitted.returncode == 0, fitted.stderr
    perturber = folder / "runs" / "perturber.safetensors"
    assert str(perturber) in fitted.stdout
    assert len(json.loads((folder / "runs" / "fit.json").read_text())["candidates"]) == 2
    compared = apple_seg("compare", experiment, "-q")
    assert compared.returncode == 0, compared.stderr
    said = json.loads((folder / "runs" / "comparison.json").read_text())
    assert {"host", "perturbed", "change", "verdict"} <= set(said)
    assert (folder / "runs" / "comparison.html").read_text().count("data:image") >= 2
    checked = apple_seg("attach", experiment, "--check")
    assert "attached to UNet" in checked.stdout, checked.stderr
    assert apple_seg("attach", experiment, "--check", "-q").stdout == ""
    shown = apple_seg("attach", experiment)
    assert f'apple_seg.attach(host, "{perturber}")' in shown.stdout
    assert (folder / "host.pt").read_bytes() == before
    weights = torch.load(folder / "host.pt")
    next(iter(weights["state_dict"].values())).view(-1)[0] += 1e-3
    torch.save(weights, folder / "changed.pt")
    refused = apple_seg(
        "attach", experiment, "--check", "-q", "--set", "host.checkpoint=changed.pt"
    )
    assert refused.returncode == 1
    assert "error:" in refused.stderr
    assert "with fingerprint" in refused.stderr


def test_audit_and_sites_need_no_perturber(folder):
    experiment = folder / "small.toml"
    audited = apple_seg("audit", experiment, "-q", "--sites", "--set", "output=audited")
    assert audited.returncode == 0, audited.stderr
    files = sorted(path.name for path in (folder / "audited").iterdir())
    assert files == ["audit.csv", "audit.html", "audit.json", "audit.md", "sites.json"]
    for report in ("audit.html", "audit.md"):
        text = (folder / "audited" / report).read_text()
        assert "Leakage and influence, site by site" in text
        assert "segmentor: monai.networks.nets:UNet" in text
    listed = apple_seg("sites", experiment, "-q")
    assert listed.returncode == 0, listed.stderr
    stages = ("model.1.submodule.1.submodule", "model.1.submodule.0", "model.0")
    for name in (*stages, "model.1.submodule.2"):  # where the default perturbs
        assert name in listed.stdout
    assert "fewer than two groups have 10 clusters" in " ".join(listed.stdout.split())
    found = json.loads((folder / "runs" / "sites.json").read_text())
    assert [site["leakage"]["host"]["linear"]["auc"] for site in found["sites"]] == [None] * 4
    assert found["sites"][0]["influence"]["erased"]["mask_moved"]["overall"]["n_cases"] == 12


def test_sites_probes_behind_a_perturber_file_and_can_leave_the_probes_out(folder):
    plan = read_experiment(folder / "small.toml", ["method.sites=bottleneck"])
    cases = plan.cohort.read().split("val")
    with wrapped(plan, cases) as segmentor:
        shape = segmentor.shapes[0]
        made = {"name": "lean", "channels": shape.channels, "cells": shape.cells}
        segmentor.install([build_perturber(made)])
        save(segmentor, folder / "lean.safetensors", spec=plan.host)
    output = ["--set", "output=behind", "--perturber", folder / "lean.safetensors"]
    done = apple_seg("sites", folder / "small.toml", "-q", *output)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "behind" / "sites.json").read_text())
    assert ["perturbed" in site["leakage"] for site in found["sites"]] == [True] + [False] * 3
    assert set(found["masks"]) == {"host", "perturbed", "truth"}
    less = ["--set", "survey.cases=0", "--set", "method.sites=skips"]
    short = apple_seg("sites", folder / "small.toml", "-q", *less, *output[:2])
    assert short.returncode == 0, short.stderr
    found = json.loads((folder / "behind" / "sites.json").read_text())
    assert [site["leakage"] for site in found["sites"]] == [None] * 3
    lost = apple_seg("sites", folder / "small.toml", "--perturber", folder / "no.safetensors")
    assert lost.returncode == 1
    assert "no perturber at" in lost.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "host.checkpoint=cohort.zip"], "error: "),
        (["--set", "method.sites=[{module='nowhere'}]"], "no submodule 'nowhere'"),
        (["--set", "fit.batch_size=17"], "16 cases are fewer than a batch of 17"),
        (["--set", "cohort.classes={lesion=1}"], "faults in"),
        (["--set", "fit.epochs=ten"], "with --set fit.epochs=ten:"),
        (["--set", "groups.by={sex=['f', 'm']}", "--set", "groups.reference=sex = f"], "sex"),
    ],
    ids=["checkpoint", "site", "batch", "mask-values", "number", "column"],
)
def test_bad_input_ends_in_one_message_status_one_and_no_file(folder, arguments, message):
    output = ["--set", "output=failed"]
    done = apple_seg("fit", folder / "small.toml", "-q", *output, *arguments)
    assert done.returncode == 1, done.stdout
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "failed").exists()


def test_compare_without_a_perturber_says_what_to_run(folder):
    done = apple_seg("compare", folder / "small.toml", "--set", "output=nothing")
    assert done.returncode == 1
    assert "run `apple-seg fit` first" in done.stderr


def test_a_fit_that_is_not_judged_by_drawn_masks_says_so(folder):
    own = ["method.target=host", "method.name=moments", "fit.margin=0.9", "output=own"]
    done = apple_seg("fit", folder / "small.toml", "-q", *[f"--set={one}" for one in own])
    assert "against the host's own masks, not against the truth" in " ".join(done.stdout.split())


def test_help_teaches_the_order_of_work():
    done = apple_seg("--help")
    assert "Order of work" in done.stdout
    for command in ("demo", "sites", "audit", "fit", "compare", "attach"):
        assert command in done.stdout
    assert "Usage: python -m apple_seg fit" in apple_seg("fit", "-h").stdout
    assert apple_seg("--version").stdout.strip() == version("apple-seg")


def test_commands_that_do_not_share_their_work_refuse_several_processes(folder):
    several = {"WORLD_SIZE": "2", "RANK": "0"}
    for command in (["demo"], ["sites", folder / "small.toml"], ["attach", folder / "small.toml"]):
        done = apple_seg(*command, **several)
        assert done.returncode == 1
        assert f"`{command[0]}` works in one process, and 2 were started" in done.stderr
