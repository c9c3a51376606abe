"""How often the test split has been looked at is not forgotten by fitting anew."""

from apple_seg.config import read_experiment
from apple_seg.ship import read_artifact
from apple_seg.workflow import compare_experiment, fit_experiment
from planted import write_experiment


def test_a_fit_after_a_comparison_is_told_what_it_is_and_counts_on(tmp_path):
    path = write_experiment(tmp_path)
    plain = read_experiment(path)
    assert fit_experiment(plain, progress=False).notes == ()
    assert compare_experiment(plain, progress=False).audited == 1
    other = read_experiment(path, ["fit.learning_rate=0.02"])
    moved, looked = fit_experiment(other, progress=False).notes
    assert "are now perturber.earlier.safetensors" in moved
    assert "has been compared on the test split once" in looked
    assert compare_experiment(other, progress=False).audited == 2
    earlier, _ = read_artifact(plain.output / "perturber.earlier.safetensors")
    assert earlier.record["audited"] == 1
    _, looked = fit_experiment(plain, progress=False).notes
    assert "has been compared on the test split 2 times" in looked
