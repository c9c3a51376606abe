"""Audits of masks and of scores in files, and the gate, as a user runs them."""

import io
import json
import zipfile
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from apple_seg.cli import main
from apple_seg.config import read_experiment
from apple_seg.errors import CaseError, ConfigError
from apple_seg.workflow.from_files import (
    audit_masks,
    audit_tables,
    compare_masks,
    groups_of,
    read_masks_experiment,
    scores_experiment,
)
from launching import apple_seg
from planted import write_experiment

PREDICTIONS = """
[predictions]
host = "{host}"
perturbed = {perturbed}
[cohort]
root = "cohort.zip"
classes = {{ lesion = 255 }}
[groups]
by = {{ group = ["A", "B"] }}
reference = "group = A"
[[other_groups]]
by = {{ age = [50] }}
reference = "age < 50"
[audit]
resamples = 100
permutations = 100
gallery = 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cohort, and what two segmentors made of its test cases: the first one is a pixel off."""
    folder = tmp_path_factory.mktemp("files")
    write_experiment(folder)
    with zipfile.ZipFile(folder / "cohort.zip") as cohort:
        table = pd.read_csv(io.BytesIO(cohort.read("cases.csv")))
        for name in table.loc[table["split"] == "test", "mask"]:
            mask = np.asarray(Image.open(io.BytesIO(cohort.read(name))))
            for made_by, shift in (("first", 2), ("second", 1)):
                path = folder / made_by / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.roll(mask, shift, axis=1)).save(path)
    text = PREDICTIONS.format(host="first", perturbed='["second"]')
    (folder / "masks.toml").write_text(text)
    return folder


def test_masks_in_files_are_audited_and_compared_without_any_segmentor(folder):
    audited = apple_seg("audit", folder / "masks.toml", "-q")
    assert audited.returncode == 0, audited.stderr
    content = json.loads((folder / "runs" / "audit.json").read_text())
    assert content["overall"]["n_cases"] == 20
    assert [one["attribute"] for one in content["others"]] == ["age"]
    compared = apple_seg("compare", folder / "masks.toml", "-q")
    assert compared.returncode == 0, compared.stderr
    said = json.loads((folder / "runs" / "comparison.json").read_text())
    assert said["host"]["overall"]["value"] == content["overall"]["value"]
    assert said["change"]["overall"]["low"] > 0.05
    assert (folder / "runs" / "comparison.html").read_text().count("<img") >= 2


def test_the_numbers_are_those_of_the_masks(folder):
    result = audit_masks(read_masks_experiment(folder / "masks.toml"), progress=False).result
    with zipfile.ZipFile(folder / "cohort.zip") as cohort:
        for case, dice in zip(result.cases["case"], result.cases["dice"], strict=True):
            name = case.replace("images", "masks")
            truth = np.asarray(Image.open(io.BytesIO(cohort.read(name)))) > 0
            found = np.asarray(Image.open(folder / "first" / name)) > 0
            assert dice == pytest.approx(2 * (truth & found).sum() / (truth.sum() + found.sum()))


def test_what_needs_a_segmentor_says_so_and_so_does_a_comparison_with_nothing(folder):
    with pytest.raises(ConfigError, match=r"\[predictions\] and no \[host\]"):
        read_experiment(folder / "masks.toml")
    (folder / "one.toml").write_text(PREDICTIONS.format(host="first", perturbed="[]"))
    with pytest.raises(ConfigError, match="name those that it is compared with"):
        compare_masks(read_masks_experiment(folder / "one.toml"), progress=False)
    (folder / "none.toml").write_text(PREDICTIONS.format(host="runs", perturbed="[]"))
    with pytest.raises(CaseError, match="20 of 20 cases have no predicted mask"):
        audit_masks(read_masks_experiment(folder / "none.toml"), progress=False)


def write_scores(folder, gain=0.0, n=200):
    rng = np.random.default_rng(0)
    age = rng.integers(20, 90, n)
    dice = np.clip(0.85 - 0.05 * (age >= 60) + rng.normal(0, 0.04, n), 0, 0.98)
    dice = dice + np.where(age >= 60, gain, 0.0) + (rng.normal(0, 0.005, n) if gain else 0.0)
    table = pd.DataFrame({"image": [f"i{k}" for k in range(n)], "DSC": dice, "age": age})
    table["who"] = [f"p{k // 2}" for k in range(n)]
    path = folder / f"dice-{gain}.csv"
    table.to_csv(path, index=False)
    return path


def test_finished_scores_are_audited_and_compared_in_one_command(tmp_path):
    host, other = write_scores(tmp_path), write_scores(tmp_path, gain=0.02)
    options = ["--by", "age=60", "--reference", "age < 60", "--cluster", "who"]
    done = apple_seg("audit-scores", host, *options, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert content["verdict"]["difference"] == "present"
    assert content["overall"]["n_clusters"] == 100
    done = apple_seg(
        *("audit-scores", host, *options, "--perturbed", other, "--output", tmp_path / "out"),
        *("--set", "audit.margin=0.02"),
    )
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert said["verdict"]["change"] == "improved"
    assert said["settings"]["margin"] == 0.02
    wrong = apple_seg("audit-scores", host, "--by", "age=60", "--output", tmp_path / "out")
    assert wrong.returncode == 2  # no --reference
    wrong = apple_seg("audit-scores", host, "--by", "age", "--reference", "age < 60")
    assert wrong.returncode == 1
    assert "--by is COLUMN=CUTS" in wrong.stderr


def test_several_tables_are_training_runs(tmp_path):
    files = {
        "host": write_scores(tmp_path),
        "perturbed": [write_scores(tmp_path, gain=gain) for gain in (0.01, 0.03)],
    }
    first, *others = groups_of(["age=60"], ["age < 60"])
    tables = {"scores": files, "groups": first, "other_groups": others, "output": tmp_path}
    result = audit_tables(scores_experiment(tables)).result
    assert result.runs == 2
    assert result.by_group["age >= 60"].value == pytest.approx(0.02, abs=0.002)
    assert result.by_group["age >= 60"].se > 0.009  # the two runs differ


def test_groups_on_the_command_line_may_be_crossed():
    assert groups_of(["age=30,60; sex=f,m"], ["age < 30, sex = f"]) == [
        {"by": {"age": [30.0, 60.0], "sex": ["f", "m"]}, "reference": "age < 30, sex = f"}
    ]
    with pytest.raises(ConfigError, match="one --reference for each --by"):
        groups_of(["age=60", "sex=f,m"], ["age < 60"])


def test_the_gate_answers_by_its_status_and_errors_have_one_of_their_own(tmp_path):
    host = write_scores(tmp_path)
    options = ["--by", "age=60", "--reference", "age < 60", "--output", tmp_path]
    assert apple_seg("audit-scores", host, *options).returncode == 0
    report = tmp_path / "audit.json"
    for limit, status, word in (("0.1", 0, "pass"), ("0.01", 1, "fail"), ("0.05", 2, "not enough")):
        done = apple_seg("gate", report, "--max-difference", limit)
        assert done.returncode == status, done.stdout
        assert word in done.stdout
    for arguments in (
        ["gate", tmp_path / "nothing.json", "--max-difference", "0.1"],
        ["gate", report],
        ["gate", report, "--no-group-worse", "0.01"],  # of a comparison only
        ["gate", report, "--max-difference", "wide"],
        ["gate", host, "--max-difference", "0.1"],
    ):
        assert apple_seg(*arguments).returncode == 3, arguments
    report.write_text("[" * 100_000)
    done = apple_seg("gate", report, "--max-difference", "0.1")
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)


@pytest.mark.parametrize("error", [OverflowError, MemoryError, KeyboardInterrupt])
def test_no_error_of_the_gate_ends_as_an_answer_would(monkeypatch, capsys, error):
    def fail(*_):
        raise error("unforeseen")

    monkeypatch.setattr("sys.argv", ["apple-seg", "gate", "report.json"])
    # The room's own name `gate` is the function.
    monkeypatch.setattr(import_module("apple_seg.audit.report_json"), "read_report", fail)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 3
    assert error is KeyboardInterrupt or "unforeseen" in capsys.readouterr().err
    # Of another command it is Python's to say.
    monkeypatch.setattr("sys.argv", ["apple-seg", "audit-scores", "x", "--by=a=1", "--reference=a"])
    monkeypatch.setattr("apple_seg.workflow.from_files.groups_of", fail)
    with pytest.raises(SystemExit if error is KeyboardInterrupt else error):
        main()
