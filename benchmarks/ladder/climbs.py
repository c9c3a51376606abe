"""One rung, host, scenario, number of cases and seed: where it is kept, and whether it is."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from apple_seg.config import Experiment
from apple_seg.files import to_json
from apple_seg.perturb import FitSettings, MethodSpec
from apple_seg.perturb.methods import Parts
from benchmarks.ladder.rungs import RUNGS, Rung
from benchmarks.ladder.scenarios import of_scenario


@dataclass(frozen=True, kw_only=True)
class Climb:
    """One step up the ladder."""

    experiment: Experiment
    """Of the host; its checkpoint's name lacks the scenario."""

    scenario: str
    cases: int | None
    """None for all that there are."""

    name: str
    rung: Rung
    settings: FitSettings

    @property
    def cell(self) -> str:
        """Name what all rungs share that can be compared with each other."""
        return f"{self.scenario}-{self.cases or 'all'}-{self.experiment.groups.attribute}"

    @property
    def method(self) -> MethodSpec:
        """The rung's, with the perturber that the host's file names in place of the default one."""
        method, named = self.rung.method, self.experiment.method.perturber
        default = self.rung.trains == "perturbers" and method.parts.perturber == Parts().perturber
        return method if named is None or not default else replace(method, perturber=named)

    @property
    def stem(self) -> Path:
        """Where what comes of it is kept, without the suffix; not committed."""
        return self.experiment.output / self.cell / self.name / f"seed-{self.settings.seed}"

    @property
    def weights(self) -> Path:
        """The perturbers, or the weights of a host: trained ones, or those that it came with."""
        if self.rung.trains == "nothing":
            return checkpoint_of(of_scenario(self.experiment, self.scenario))
        return self.stem.with_suffix(".pt" if self.rung.whole_host else ".safetensors")

    @property
    def record(self) -> Path:
        """What the fit said."""
        return self.stem.with_suffix(".json")

    @property
    def vote_record(self) -> Path:
        """What validation said of a vote of all views."""
        return self.stem.with_suffix(".vote.json")

    @property
    def identity(self) -> dict[str, Any]:
        """What another fit would have otherwise, as JSON has it; how it answers is not in it."""
        parts, groups = asdict(self.method.parts), self.experiment.groups
        del parts["vote"]
        said = {
            "host": digest(checkpoint_of(of_scenario(self.experiment, self.scenario))),
            "groups": groups.labels,
            "method": parts,
            "images": self.rung.images,
            "settings": self.settings,
        }
        loaded: dict[str, Any] = json.loads(to_json(said))
        return loaded

    @property
    def trained_as(self) -> "Climb":
        """The climb whose weights these are: mostly itself."""
        name = self.rung.weights_of
        return self if name is None else replace(self, name=name, rung=RUNGS[name])


def checkpoint_of(experiment: Experiment) -> Path:
    """Return where the weights of the host as deployed are."""
    checkpoint = experiment.host.checkpoint
    if checkpoint is None:
        raise ValueError("[host] checkpoint says which host it is, and is missing")
    return Path(checkpoint)


def trained(task: Climb) -> dict[str, Any] | None:
    """Return the record of a fit that was made with these very settings, whatever it answers by."""
    if not (task.record.is_file() and task.weights.is_file()):
        return None
    record: dict[str, Any] = json.loads(task.record.read_text())
    record["fit"].setdefault("vote", None)
    return record if record["identity"] == task.identity else None


def done(task: Climb) -> dict[str, Any] | None:
    """Return the record of a fit that is made and, where its rung asks for it, put to the vote."""
    record = trained(task)
    if record is None or not task.rung.votes:
        return record
    if not task.vote_record.is_file():
        return None
    said: dict[str, Any] = json.loads(task.vote_record.read_text())
    vote = said["vote"]
    if said["weights"] != digest(task.weights) or said.get("identity") != task.identity:
        return None
    if "untouched" not in vote:  # of a time when the untouched host's vote was no candidate
        return None
    fit = {**record["fit"], "vote": vote}
    if vote["kept"]:
        fit["selected"] = fit["candidates"][vote["candidate"]["epoch"]]
    fit["seconds"] += said["seconds"]
    return {**record, "fit": fit}


def answered(fit: Mapping[str, Any]) -> dict[str, Any]:
    """Return what validation said of a fit's answers, in one view or by the vote that is kept."""
    vote = fit["vote"]
    found: dict[str, Any] = vote["candidate"] if vote and vote["kept"] else fit["selected"]
    return found


def worst_of(candidate: Mapping[str, Any]) -> float:
    """Return the mean Dice of the group that is served worst."""
    return float(min(candidate["by_group"].values()))


def digest(weights: Path) -> str:
    """Return what tells some weights from others."""
    return sha256(weights.read_bytes()).hexdigest()[:12]
