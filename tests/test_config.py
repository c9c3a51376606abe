"""One TOML file, checked all at once; every example file of the project is loaded here."""

from pathlib import Path

import pytest

from apple_seg.config import read_experiment
from apple_seg.errors import ConfigError

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted((ROOT / "benchmarks" / "experiments").glob("*.toml"))
LADDER = sorted((ROOT / "benchmarks" / "ladder" / "hosts").glob("*.toml"))
SMALL = """
[host]
factory = "hosts:ToyHost"
checkpoint = "host.pt"
[cohort]
root = "cases"
classes = { lesion = 1 }
[groups]
by = { age = [60] }
reference = "age < 60"
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_there_are_experiments_for_five_hosts():
    assert len(EXPERIMENTS) == 5
    assert [path.stem for path in LADDER] == ["sam", "unet"]


@pytest.mark.parametrize("path", [*EXPERIMENTS, *LADDER], ids=lambda path: path.stem)
def test_every_experiment_file_opens_with_its_command_and_is_valid(path, monkeypatch):
    monkeypatch.setenv("HAM10000", "/somewhere/ham10000.zip")
    first = path.read_text().splitlines()[0]
    run = f"apple-seg fit benchmarks/experiments/{path.name}"
    climb = f"python -m benchmarks.ladder fit --host {path.stem}"
    assert first == f"# {climb if path in LADDER else run}"
    experiment = read_experiment(path)
    assert experiment.groups.labels == ("age < 60", "age >= 60")
    assert experiment.host.factory.partition(":")[0]
    assert str(experiment.cohort.root) == "/somewhere/ham10000.zip"
    assert experiment.caveats


def test_paths_are_relative_to_the_file(small, tmp_path):
    experiment = read_experiment(small)
    assert experiment.host.checkpoint == tmp_path / "host.pt"
    assert Path(experiment.cohort.root) == tmp_path / "cases"
    assert experiment.output == tmp_path / "runs"


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("fit.epochs=9", lambda e: e.fit.epochs, 9),
        ("method.sites=all", lambda e: e.method.sites, "all"),
        ('method.sites=[{module="encoder", item=-1}]', lambda e: e.method.sites[0].item, -1),
        ("groups.by.age=[40, 60]", lambda e: e.groups.labels[1], "40 <= age < 60"),
        ("host.input.size=[64, 64]", lambda e: e.host.input.size, (64, 64)),
    ],
)
def test_overrides_change_one_value(small, override, read, expected):
    changed = [override, "groups.reference='age < 40'"] if "40" in override else [override]
    assert read(read_experiment(small, changed)) == expected


def test_every_fault_is_named_with_its_place(small):
    small.write_text(SMALL.replace("checkpoint", "weights") + "[fit]\nepochs = 'many'\nspeed = 1\n")
    with pytest.raises(ConfigError) as caught:
        read_experiment(small)
    for place in ("host.weights", "fit.epochs", "fit.speed"):
        assert place in str(caught.value)
    assert "3 faults" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[host", "is not TOML"),
        (SMALL.replace('"cases"', '"$NOT_SET_ANYWHERE/x"'), "names a variable .* not set"),
        (SMALL + "[method]\nname = 'magic'\n", "no method called 'magic'"),
        (SMALL.replace("age < 60", "age < 61"), "the reference 'age < 61' .*is not one of"),
        (SMALL + "[fit]\nbatch_size = 1\n", "a batch of 2"),
        (SMALL + "[fit]\nlearning_rate = nan\n", "a positive learning rate"),
        (SMALL + "[splits]\nvalidation = 'train'\n", "three different splits"),
        (SMALL + "[method]\nperturber = 'magic'\n", "no perturber called 'magic'"),
    ],
)
def test_what_cannot_be_done_is_said(small, text, message):
    small.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_experiment(small)


@pytest.mark.parametrize(
    ("more", "place", "proposed"),
    [
        ("[audit]\nmarign = 0.02\n", "audit.marign: ", "margin"),
        ("[card]\nintendeduse = 'x'\n", "card.intendeduse: ", "intended_use"),
        ("[splitts]\nfit = 'a'\n", "splitts: ", "splits"),
        ("[host.input]\nsizes = [8, 8]\n", "host.input.sizes: ", "size"),
        (
            "[[other_groups]]\nby = {sex = ['f', 'm']}\nrefrence = 'sex = f'\n",
            "other_groups.0.refrence: ",
            "reference",
        ),
        ("[audit]\nmetric = 'Dice'\n", "no metric 'Dice' ", "dice"),
        ("[audit]\npolicy = 'fair-seg'\n", "no policy 'fair-seg' ", "fairseg"),
    ],
)
def test_what_may_have_been_meant_is_proposed(small, more, place, proposed):
    small.write_text(SMALL + more)
    with pytest.raises(ConfigError) as caught:
        read_experiment(small)
    (line,) = (line for line in str(caught.value).splitlines() if place in line)
    assert f"(did you mean '{proposed}'?)" in line


def test_nothing_is_proposed_for_what_is_like_nothing(small):
    small.write_text(SMALL + "[audit]\ncolour = 'red'\n")
    with pytest.raises(ConfigError, match=r"audit\.colour: Unexpected keyword") as caught:
        read_experiment(small)
    assert "did you mean" not in str(caught.value)


def test_missing_file_and_bad_override_are_said(small, tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        read_experiment(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match=r"table.key=value, got 'fit.epochs'"):
        read_experiment(small, ["fit.epochs"])
    with pytest.raises(ConfigError, match="factory is no table"):
        read_experiment(small, ["host.factory.x=3"])
