"""What the README shows is run, and its numbers are those of the committed results."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from apple_seg.config import read_experiment
from apple_seg.data import fairmedfm_manifest
from apple_seg.perturb import MethodSpec
from apple_seg.workflow.from_files import read_masks_experiment
from planted import write_experiment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language, number=0):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)[number]


def test_experiment_of_the_readme_is_valid(tmp_path):
    path = tmp_path / "experiment.toml"
    path.write_text(block("toml", 1))
    experiment = read_experiment(path)
    assert experiment.groups.labels == ("age < 60", "age >= 60")
    assert experiment.method == MethodSpec(sites="stages", perturber="lean")


def test_predictions_of_the_readme_take_the_place_of_the_host(tmp_path):
    path = tmp_path / "experiment.toml"
    path.write_text(block("toml", 1) + block("toml"))
    experiment = read_masks_experiment(path)
    assert experiment.predictions.host == tmp_path / "predictions" / "unet"
    assert len(experiment.predictions.perturbed) == 1


def test_card_and_survey_of_the_readme_belong_into_the_same_file(tmp_path):
    path = tmp_path / "experiment.toml"
    path.write_text(block("toml", 1) + block("toml", 2))
    experiment = read_experiment(path)
    assert (experiment.survey.cases, experiment.survey.influence_cases) == (300, 64)
    assert experiment.card.training_data == "ISIC 2018, task 1."
    assert experiment.card.details["version"] == "2.1"
    assert "to be written" not in experiment.card.intended_use
    path.write_text(block("toml", 1))
    assert read_experiment(path).card.intended_use == ""


def test_the_cohort_of_fairmedfm_in_the_readme_is_what_the_importer_gives(tmp_path):
    path = tmp_path / "experiment.toml"
    without = re.sub(r"\[cohort\].*?(?=\[groups\])", "", block("toml", 1), flags=re.DOTALL)
    path.write_text(without + block("toml", 3))
    found = read_experiment(path).cohort
    imported = fairmedfm_manifest(found.root, classes={"lesion": 1})
    assert replace(found, cluster=None, split=None) == imported
    assert (found.cluster, found.split) == ("", "")  # TOML has no word for none


def test_python_of_the_readme_runs_and_attaches(tmp_path, monkeypatch):
    shutil.move(write_experiment(tmp_path), tmp_path / "experiment.toml")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(block("python"), names)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    host = names["segmentor"].detach()
    images = names["example"].images
    production = {"apple_seg": names["apple_seg"], "host": host, "images": images}
    exec(block("python", 1), production)
    case = names["test"][0]
    production |= {"image": case.image}
    exec(block("python", 2), production)
    assert production["masks"][0].shape == case.mask.shape
    lines = [line for line in block("python").splitlines() if line and "import" not in line]
    assert len(lines) <= 11


def test_tables_are_what_the_committed_results_say():
    command = [sys.executable, "-m", "benchmarks.report", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_knows_what_the_readme_says(target):
    assert f"make {target} " in README
    environment = {**os.environ, "MAKEFLAGS": ""}
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
