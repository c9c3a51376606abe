"""What a team meets when it fits twice, has no masks, or misspells a split."""

import csv
import io
import zipfile

import pytest

from apple_seg.config import read_experiment
from apple_seg.errors import CaseError, ConfigError
from apple_seg.workflow import fit_experiment
from planted import write_experiment


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
