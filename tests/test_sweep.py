"""Sweeps end with a choice by means on validation, go on where they were, and read no test case."""

import json
import shutil
import zipfile
from dataclasses import replace

import pandas as pd
import pytest
import torch

from apple_seg.config import read_experiment
from apple_seg.errors import ConfigError, FitError, ManifestError
from apple_seg.perturb import fit, targets
from apple_seg.ship import read_artifact
from apple_seg.workflow import (
    attach_experiment,
    audit_experiment,
    compare_experiment,
    pipeline_of,
    wrapped,
)
from apple_seg.workflow.sweep import plan_sweep
from apple_seg.workflow.sweeping import sweep_experiment
from launching import apple_seg
from planted import write_experiment

FIXED = ["method.name=apple", "method.perturber=lean", "replay.store=disk", "fit.epochs=2"]
VARY = ["method.terms.adversary=0,0.1", "method.sites=bottleneck,all"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """An experiment of which the files of the test split hold nothing that can be read."""
    folder = tmp_path_factory.mktemp("sweep")
    path = write_experiment(folder)
    with zipfile.ZipFile(folder / "cohort.zip") as whole:
        whole.extractall(folder / "cohort")
    for file in (folder / "cohort").glob("*/test_*"):
        file.write_bytes(b"not to be read")
    path.write_text(path.read_text().replace('root = "cohort.zip"', 'root = "cohort"'))
    return path


def planned(path, *overrides, vary=VARY, seeds="0,1", most=200):
    def read(varied):
        return read_experiment(path, [*FIXED, *overrides, *varied])

    return plan_sweep(read, vary, seeds, most=most)


def swept(path, *overrides, **options):
    return sweep_experiment(planned(path, *overrides, **options), progress=False)


@pytest.fixture(scope="module")
def done(path):
    return swept(path)


def weights_in(folder):
    _, tensors = read_artifact(folder / "perturber.safetensors")
    return {name: value.clone() for name, value in tensors.items()}  # not a view of the file


def times(folder):
    return {
        file.relative_to(folder): file.stat().st_mtime_ns
        for name in ("fit.json", "log.jsonl", "perturber.safetensors")
        for file in folder.glob(f"sweep/*/*/{name}")
    }


def test_a_sweep_ends_with_its_files_and_has_not_read_the_audit_split(path, done):
    with pytest.raises(ManifestError, match="test_"):
        audit_experiment(read_experiment(path), progress=False)
    output = path.parent / "runs"
    assert [file.name for file in done.files] == [
        *("sweep.json", "sweep.html", "perturber.safetensors", "fit.json"),
    ]
    found = json.loads((output / "sweep.json").read_text())
    assert [one["settings"] for one in found["combinations"]] == [
        {"method.terms.adversary": adversary, "method.sites": sites}
        for adversary in (0, 0.1)
        for sites in ("bottleneck", "all")
    ]
    for one in found["combinations"]:
        assert [seed["seed"] for seed in one["seeds"]] == [0, 1]
        for seed in one["seeds"]:
            assert set(seed["identity"]) == {"overall", "by_group", "worst", "difference"}
            assert set(seed["selected"]) == {"epoch", *seed["identity"]}
            assert seed["trained_share"] > 0
            assert seed["seconds"] > 0
            said = json.loads((output / seed["folder"] / "fit.json").read_text())
            best = max(min(each["by_group"].values()) for each in said["candidates"])
            assert seed["selected"]["worst"] == best
    assert len(times(output)) == 8 * 3
    assert not list(output.rglob("checkpoint*"))


def test_combinations_at_the_same_sites_share_what_was_recorded(path, done):
    records = path.parent / "runs" / "sweep" / "replay"
    stores = [json.loads(file.read_text()) for file in records.glob("*/train/header.json")]
    assert sorted(len(one["identity"]["sites"]) for one in stores) == [1, 3]
    assert len(done.result.sweep.tried) * len(done.result.sweep.plan.seeds) == 8
    for journal in records.glob("*/train/journal-0.txt"):
        assert len(journal.read_text().splitlines()) == 16  # each case once

    def written():
        return [file.stat().st_mtime_ns for file in sorted(records.glob("*/*/shard-*.bin"))]

    before = written()
    assert len(before) == 4
    swept(path, vary=["method.weighting=balanced,worst-group"], seeds="0")
    assert written() == before


def test_combinations_that_other_masks_would_judge_are_refused_before_any_fit(path):
    with pytest.raises(
        ConfigError, match="target=masks and target=host would be judged by different"
    ):
        swept(path, "fit.selection=worst-group", vary=["method.target=masks,host"])


def test_other_views_are_recorded_elsewhere(path):
    """Else each would find the other's records, and record anew whenever it is its turn."""
    views = 'fit.views=["as-is"],["as-is","flip-w"]'
    swept(path, "output=views", vary=[views], seeds="0")
    headers = (path.parent / "views").glob("sweep/replay/*/train/header.json")
    found = [json.loads(file.read_text())["identity"]["views"] for file in headers]
    assert sorted(found) == [["as-is"], ["as-is", "flip-w"]]


def test_what_is_done_is_skipped_however_it_is_written_and_another_fit_is_not(path, done):
    output = path.parent / "runs"
    before = times(output)
    fixed = [word for one in FIXED for word in ("--set", one)]
    vary = ["--vary", VARY[1], "--vary", "method.terms.adversary=0.10,0"]
    again = apple_seg("sweep", path, "-q", *vary, "--seeds", "1,0", *fixed)
    assert again.returncode == 0, again.stderr
    assert times(output) == before
    assert "Dice on validation, means over seeds, best first" in again.stdout
    assert f"apple-seg compare {path} --set {FIXED[0]}" in again.stdout
    assert "Shipped is its first seed, 1," in again.stdout
    swept(path)
    assert times(output) == before
    swept(path, "fit.epochs=1", "replay.store=off", vary=VARY[1:], seeds="0")
    assert len(times(output)) == len(before) + 2 * 3


def test_what_is_missing_or_damaged_is_fitted_again_to_the_same_weights(path, done):
    output = path.parent / "runs"
    tried = done.result.sweep.tried
    lost, hurt = tried[1].fits[0].folder, tried[2].fits[1].folder
    old = tried[2].fits[0].folder  # of a time when the untouched host's vote was no candidate
    weights = [weights_in(one) for one in (lost, hurt, old)]
    told = json.loads((old / "fit.json").read_text())
    (old / "fit.json").write_text(json.dumps({**told, "vote": {"kept": False}}))
    before = times(output)
    shutil.rmtree(lost)
    file = hurt / "perturber.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    swept(path)
    after = times(output)
    changed = {output / one.parent for one in after if after[one] != before[one]}
    assert changed == {lost, hurt, old}
    for one, was in zip((lost, hurt, old), weights, strict=True):
        torch.testing.assert_close(weights_in(one), was, rtol=0, atol=0)


def test_a_killed_fit_goes_on_from_its_checkpoint(path, done):
    one = done.result.sweep.tried[0]
    experiment, seed = one.combination.experiment, one.fits[0]
    for name in ("fit.json", "perturber.safetensors", "log.jsonl"):
        (seed.folder / name).unlink()
    cohort = experiment.cohort.read()
    train, validation = cohort.split("train"), cohort.split("val")
    with wrapped(
        experiment, train
    ) as segmentor:  # ends as a fit does that is killed while it saves
        fit(
            pipeline_of(experiment, segmentor, cohort),
            **{"train": train, "validation": validation, "groups": experiment.groups},
            method=experiment.method,
            settings=replace(experiment.fit, seed=seed.seed),
            replay=replace(experiment.replay, folder=one.combination.records),
            folder=seed.folder,
            progress=False,
        )
    assert (seed.folder / "checkpoint.pt").is_file()
    log = (seed.folder / "log.jsonl").read_bytes()  # has the seconds of every epoch
    swept(path)
    assert json.loads((seed.folder / "fit.json").read_text())["identity"]
    assert json.loads(log.splitlines()[-1])["epoch"] == 2
    assert (seed.folder / "log.jsonl").read_bytes() == log
    assert not (seed.folder / "checkpoint.pt").exists()


def test_the_shipped_file_is_the_first_seed_s_and_compares_with_the_same_experiment(path, done):
    sweep, shipped = done.result.sweep, path.parent / "runs" / "perturber.safetensors"
    assert sweep.chosen is not None
    first = sweep.chosen.fits[0]
    assert first.seed == 0
    assert shipped.read_bytes() == (first.folder / "perturber.safetensors").read_bytes()
    plain = read_experiment(path, ["cohort.root=cohort.zip"])
    segmentor = attach_experiment(plain)
    assert (
        len(segmentor.sites) == {"bottleneck": 1, "all": 3}[sweep.chosen.combination.short["sites"]]
    )
    segmentor.detach()
    assert compare_experiment(plain, progress=False).audited == 1
    compared = shipped.read_bytes()
    words = " ".join(swept(path).result.words)
    assert shipped.read_bytes() == compared  # knows of that look still
    assert "This very file has been compared on the test split once" in words
    assert not any("has been compared" in line for line in done.result.words)


def test_the_identity_is_chosen_where_nothing_helps_and_no_file_is_left(path):
    output = path.parent / "nothing"
    output.mkdir()
    (output / "perturber.safetensors").write_bytes(b"of an earlier fit")
    options = {"vary": VARY[1:], "seeds": "0"}
    found = swept(path, "output=nothing", "fit.learning_rate=1e-12", "fit.epochs=1", **options)
    words = " ".join(found.result.words)
    assert found.result.sweep.chosen is None
    assert "Nothing was chosen" in words
    assert "The identity is the answer" in words
    assert [file.name for file in found.files] == ["sweep.json", "sweep.html"]
    assert not (output / "perturber.safetensors").exists()
    assert (output / "perturber.earlier.safetensors").read_bytes() == b"of an earlier fit"
    assert json.loads((output / "sweep.json").read_text())["chosen"] is None


def test_a_combination_that_diverges_is_told_and_not_chosen(path):
    rates = ["fit.learning_rate=0.01,1e20"]
    sweep = swept(path, "output=diverged", vary=rates, seeds="0").result.sweep
    assert [bool(one.failed) for one in sweep.tried] == [False, True]
    assert "not finite" in sweep.tried[1].failed[0]
    assert all(one.tried is not sweep.tried[1] for one in sweep.ranking)
    with pytest.raises(FitError, match="no combination could be fitted with all seeds"):
        swept(path, "output=lost", vary=["fit.learning_rate=1e19,1e20"], seeds="0")
    assert not (path.parent / "lost" / "sweep.json").exists()


def test_what_stands_in_for_masks_is_drawn_once_for_all_fits(path, monkeypatch):
    table = path.parent / "cohort" / "cases.csv"
    rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    bare = rows.assign(mask=rows["mask"].where(rows["split"] != "train", ""))
    bare.to_csv(table.with_name("bare.csv"), index=False)
    drawn = []

    def counted(pipeline, views, case):
        drawn.append(case.key)
        return agreed(pipeline, views, case)

    agreed = targets._agreed
    monkeypatch.setattr(targets, "_agreed", counted)
    options = ["method.name=consensus", 'fit.views=["as-is","flip-w"]', "cohort.manifest=bare.csv"]
    done = swept(path, *options, "output=bare", vary=["fit.learning_rate=0.01,0.02"])
    assert len(done.result.sweep.tried) == 2
    assert sorted(drawn) == sorted(bare["image"][bare["split"] == "train"])
