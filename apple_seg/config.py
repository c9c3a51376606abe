"""One TOML file to one checked experiment: host, cohort, groups, method, fit, audit."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from apple_seg.audit import AuditSettings, SurveySettings
from apple_seg.audit.report import ModelCard
from apple_seg.data import Groups, Manifest
from apple_seg.errors import ConfigError
from apple_seg.host import HostSpec
from apple_seg.names import meant
from apple_seg.perturb import FitSettings, MethodSpec
from apple_seg.replay import ReplaySettings

Read = TypeVar("Read")


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The `[splits]` table: which split of the manifest serves what."""

    __pydantic_config__ = {"extra": "forbid"}

    fit: str = "train"
    validation: str = "val"

    audit: str = "test"
    """Read by `audit` and `compare` only; nothing is chosen on it."""

    def __post_init__(self) -> None:
        if len({self.fit, self.validation, self.audit}) < 3:
            raise ConfigError(
                "fit, validation and audit need three different splits, else the numbers would "
                f"not be of unseen cases; got {self.fit!r}, {self.validation!r}, {self.audit!r}"
            )


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What one TOML file says."""

    __pydantic_config__ = {"extra": "forbid"}

    host: HostSpec
    cohort: Manifest
    groups: Groups
    """Those that a fit is made for, and that the first verdict is about."""

    other_groups: tuple[Groups, ...] = ()
    """`[[other_groups]]`, by other attributes: audited beside; verdicts allow for their number."""

    splits: Splits = field(default_factory=Splits)
    method: MethodSpec = field(default_factory=MethodSpec)
    fit: FitSettings = field(default_factory=FitSettings)
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    survey: SurveySettings = field(default_factory=SurveySettings)

    card: ModelCard = field(default_factory=ModelCard)
    """What the report's model card section says of the segmentor and no audit can know."""

    output: Path = Path("runs")
    """Folder that results are written to, relative to the file."""

    device: str = "cpu"

    caveats: tuple[str, ...] = ()
    """What a reader of the report must know of this cohort, in sentences."""


def read_experiment(path: Path | str, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment file.

    Paths in it are relative to the file's folder; `~` and `$VARIABLES` are expanded.

    Args:
        path: The TOML file.
        overrides: `table.key=value`, each value as TOML writes it (bare words are strings).

    Raises:
        ConfigError: The file is not there, is no TOML, or says something wrong; all faults at once.
    """
    tables = read_tables(path, overrides)
    if "predictions" in tables and "host" not in tables:
        raise ConfigError(
            f"{path} has [predictions] and no [host]: masks in files can be audited and compared, "
            "and nothing else; this needs the host itself"
        )
    changed = "".join(f" with --set {override}" for override in overrides)
    return parse(tables, f"{path}{changed}")


def parse(tables: Mapping[str, Any], name: str) -> Experiment:
    """Turn TOML's tables into a checked experiment.

    Raises:
        ConfigError: A key is unknown or missing, or a value is of the wrong kind.
    """
    return validated(Experiment, tables, name)


def overridden(tables: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Change values of tables, in place: `table.key=value`, each value as TOML writes it.

    Raises:
        ConfigError: An override is no such thing, or leads through a value that is no table.
    """
    for override in overrides:
        _override(tables, override)
    return tables


def validated(kind: type[Read], tables: Mapping[str, Any], name: str) -> Read:
    """Turn tables into a checked dataclass.

    Args:
        kind: The dataclass.
        tables: What its fields are made of.
        name: Whence they come, for the error.

    Raises:
        ConfigError: A key is unknown or missing, or a value is of the wrong kind.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        experiment: Read = TypeAdapter(kind).validate_python(tables)
    except ValidationError as error:
        lines = [_explain(dict(fault), kind) for fault in error.errors()]
        count = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
        raise ConfigError(f"{count} in {name}:\n" + "\n".join(lines)) from error
    return experiment


def read_tables(path: Path | str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read the tables of an experiment file, paths made absolute; see `read_experiment`."""
    path = Path(path)
    tables = overridden(_read(path), overrides)
    _resolve(tables, path.resolve().parent)
    return tables


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _override(tables: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"an override is table.key=value, got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.strip().split(".")
    place = tables
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise ConfigError(f"{override!r}: {parent} is no table, but {place!r}")
    place[last] = value


def _resolve(tables: dict[str, Any], folder: Path) -> None:
    """Make the paths of the file absolute."""
    tables.setdefault("output", "runs")
    places = [
        (tables.get("host"), "checkpoint"),
        (tables.get("cohort"), "root"),
        (tables.get("replay"), "folder"),
        (tables.get("predictions"), "host"),
        (tables, "output"),
    ]
    for table, key in places:
        if isinstance(table, dict) and isinstance(table.get(key), str):
            table[key] = str(folder / _expand(table[key]))
    predictions = tables.get("predictions")
    if isinstance(predictions, dict) and "perturbed" in predictions:
        named = predictions["perturbed"]
        several = named if isinstance(named, list) else [named]
        predictions["perturbed"] = [str(folder / _expand(str(each))) for each in several]
    cohort = tables.get("cohort")
    if isinstance(cohort, dict) and isinstance(cohort.get("manifest"), str):
        own = folder / _expand(cohort["manifest"])
        cohort["manifest"] = str(own) if own.is_file() else cohort["manifest"]


def _expand(text: str) -> Path:
    expanded = os.path.expandvars(text)
    if "$" in expanded:
        raise ConfigError(
            f"{text!r} names a variable of the environment that is not set; "
            "set it, or override the path with --set"
        )
    return Path(expanded).expanduser()


def _explain(fault: Mapping[str, Any], kind: type[Any]) -> str:
    """Say where and what: `host.input.size: Input should be a valid tuple (given: 3)`."""
    where = ".".join(map(str, fault["loc"])) or "file"
    given = "" if fault["type"] == "missing" else f" (given: {fault['input']!r})"
    given = "" if fault["type"] == "value_error" else given
    if fault["type"] == "unexpected_keyword_argument":
        *tables, key = fault["loc"]
        given = meant(key, _keys(kind, tables)) + given
    return f"  {where}: {str(fault['msg']).removeprefix('Value error, ')}{given}"


def _keys(kind: Any, tables: Sequence[str | int]) -> list[str]:
    """Return the keys that a table may have; none where that cannot be told.

    Args:
        kind: The dataclass of the whole file, or what is annotated as such.
        tables: The names of the tables that lead to it, and places in lists.
    """
    kinds = [kind]
    while kinds and not is_dataclass(kinds[0]):
        kinds = [*get_args(kinds[0]), *kinds[1:]]
    if not kinds:
        return []
    if not tables:
        return [one.name for one in fields(kinds[0])]
    first, *rest = tables
    inner = kind if isinstance(first, int) else get_type_hints(kinds[0]).get(first)
    return _keys(inner, rest)
