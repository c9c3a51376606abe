"""What a team meets when it fits twice, has no masks, or misspells a split."""

import csv
import io
import zipfile

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from apple_seg.cli.app import app
from apple_seg.config import read_experiment
from apple_seg.errors import CaseError, ConfigError
from apple_seg.host import Pipeline
from apple_seg.measure import score
from apple_seg.ship import read_artifact
from apple_seg.workflow import (
    attach_experiment,
    compare_experiment,
    fit_experiment,
    pipeline_of,
)
from apple_seg.workflow.running import card_of
from apple_seg.workflow.sweep import plan_sweep
from apple_seg.workflow.sweeping import sweep_experiment
from launching import apple_seg
from planted import write_experiment

SEVERAL = 'fit.views=["as-is", "flip-h", "flip-w"]'


@pytest.fixture
def path(tmp_path):
    return write_experiment(tmp_path)


def rewrite(path, change):
    """Change the rows of the cohort's table."""
    archive = path.parent / "cohort.zip"
    with zipfile.ZipFile(archive) as old:
        files = {name: old.read(name) for name in old.namelist()}
    (table,) = (name for name in files if name.endswith("cases.csv"))
    rows = list(csv.DictReader(io.StringIO(files[table].decode())))
    for row in rows:
        change(row)
    written = io.StringIO()
    writer = csv.DictWriter(written, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    files[table] = written.getvalue().encode()
    with zipfile.ZipFile(archive, "w") as new:
        for name, content in files.items():
            new.writestr(name, content)


def test_a_second_fit_keeps_the_perturbers_of_the_first_and_says_so(path):
    first = fit_experiment(read_experiment(path), progress=False)
    assert first.notes == ()
    before = first.files[0].read_bytes()
    second = fit_experiment(read_experiment(path, ["fit.seed=1"]), progress=False)
    assert "are now perturber.earlier.safetensors" in second.notes[0]
    assert (path.parent / "runs" / "perturber.earlier.safetensors").read_bytes() == before
    assert second.files[0].read_bytes() != before


def test_a_split_that_is_not_used_is_told_of(path, capsys):
    rewrite(path, lambda row: row.update(split=row["split"].replace("test", "tset")))
    fit_experiment(read_experiment(path), progress=True)
    said = capsys.readouterr().err
    assert "cases in split 'tset' (did you mean 'test'?), which is not used: 20" in said


def test_without_masks_the_host_stands_for_them_and_the_last_sound_epoch_is_kept(path):
    rewrite(path, lambda row: row.update(mask=""))
    with pytest.raises(ConfigError, match=r"cases have no mask, and .* name more views"):
        fit_experiment(read_experiment(path), progress=False)
    with pytest.raises(CaseError, match="have no mask"):
        fit_experiment(read_experiment(path, ["method.name=apple"]), progress=False)
    options = ['method.target="host"', "method.name=moments", "fit.margin=0.9"]
    fitted = fit_experiment(read_experiment(path, options), progress=False).result
    assert fitted.candidates[0].overall == 1
    assert fitted.selected.epoch == 1
    assert fitted.settings.selection == "latest"


def test_without_masks_a_host_is_fitted_to_what_its_views_agree_on(path):
    rewrite(path, lambda row: row.update(mask=""))
    views = 'fit.views=["as-is", "flip-h", "turn-90"]'
    options = ['method.target="consensus"', "method.name=segmentation-only", "fit.margin=0.9"]
    fitted = fit_experiment(read_experiment(path, [*options, views]), progress=False).result
    assert fitted.candidates[0].overall < 1
    assert fitted.settings.selection == "worst-group"
    assert len(fitted.candidates) == 2


def test_a_sweep_takes_cases_without_masks_where_a_fit_does(path):
    rewrite(path, lambda row: row.update(mask=row["mask"] if row["split"] == "val" else ""))

    def read(varied):
        fixed = ["fit.epochs=1", "fit.margin=0.9", "method.vote=false", SEVERAL]
        return read_experiment(path, [*fixed, *varied])

    plan = plan_sweep(read, ["method.sites=bottleneck,all"], "0", most=9)
    swept = sweep_experiment(plan, progress=False).result.sweep
    assert len(swept.finished) == 2


def blind(monkeypatch):
    """Votes that are the truth where the host is untouched, and nothing where it is perturbed."""
    monkeypatch.setattr(
        Pipeline,
        "vote",
        lambda self, cases, _: [case.mask & (not self.segmentor.enabled) for case in cases],
    )


@pytest.mark.parametrize("rate", [0.01, 1e-9], ids=["an epoch is better", "none is"])
def test_where_the_untouched_hosts_vote_is_kept_all_is_said_to_be_the_votes(
    path, monkeypatch, rate
):
    blind(monkeypatch)
    options = [f"fit.learning_rate={rate}", "fit.epochs=3", SEVERAL]
    given = [word for option in options for word in ("--set", option)]
    shown = CliRunner().invoke(app, ["fit", str(path), *given], env={"COLUMNS": "200"})
    said = " ".join(shown.output.split())
    assert "untouched host's vote of 3 views *" in said
    assert "The identity was chosen" in said
    assert "The file has the vote alone" in said
    assert ("was no better than the untouched host's" in said) == (rate == 0.01)
    assert ("no epoch was better" in said) == (rate != 0.01)
    experiment = read_experiment(path, options)
    compare_experiment(experiment)
    assert "in one: all of the change is the vote's." in (
        (path.parent / "runs" / "comparison.md").read_text()
    )
    assert (
        "the identity was kept: they change nothing"
        in card_of(experiment, path.parent / "runs" / "perturber.safetensors").details["perturber"]
    )


def test_what_was_audited_by_vote_is_attached_by_vote(path):
    options = ["--set", SEVERAL, "--set", "fit.epochs=3", "--set", "fit.learning_rate=0.01"]
    said = apple_seg("fit", path, *options).stdout
    assert "vote of 3 views *" in said
    assert "untouched host's vote of 3" in said
    assert "as many passes a case" in said
    shown = apple_seg("attach", path, *options).stdout
    assert "by the vote of 3 views" in shown
    experiment = read_experiment(path, options[1::2])
    compare_experiment(experiment)
    runs = path.parent / "runs"
    told = pd.read_csv(runs / "comparison.csv")
    cases = experiment.cohort.read().split("test")
    segmentor = attach_experiment(experiment)
    pipeline = pipeline_of(experiment, segmentor, cases)
    assert read_artifact(runs / "perturber.safetensors")[0].views == segmentor.views
    voted = score(pipeline, cases, metrics=("dice",), progress=False)
    segmentor.views = ("as-is",)
    single = score(pipeline, cases, metrics=("dice",), progress=False)
    segmentor.detach()
    assert not np.allclose(voted["dice"], single["dice"])
    assert np.allclose(told["perturbed_dice"], voted["dice"])
    assert "answers by the vote of 3 views" in (runs / "comparison.html").read_text()
