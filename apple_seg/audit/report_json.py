"""The JSON of a report, read back: what a gate needs, and whether it can be what was found."""

import json
from collections.abc import Mapping
from math import isfinite, nan
from pathlib import Path
from typing import Any, NamedTuple

from apple_seg.audit.inference.intervals import Estimate
from apple_seg.errors import ConfigError


class Parsed(NamedTuple):
    """What a gate reads of a report."""

    metric: str
    reference: str
    difference: Mapping[str, Estimate]
    change: Mapping[str, Estimate] | None
    """None where the report is of one host."""


def read_report(path: Path | str) -> dict[str, Any]:
    """Read the JSON that an audit or a comparison was written to.

    Raises:
        ConfigError: The file is not there, is no JSON, or is no such report.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: no report: it is nested too deeply") from error
    try:
        parse_all(content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return dict(content)


def parse_all(report: Any) -> list[Parsed]:
    """Read a report and the further attributes under `others`.

    Raises:
        ConfigError: It is no report, or cannot be what an audit found.
    """
    first = _parse(report)
    others = report.get("others", [])
    if not isinstance(others, list):
        kind = type(others).__name__
        raise ConfigError(f"no report: `others` is a list of reports, got a value of type {kind}")
    return [first, *map(_parse, others)]


def _parse(report: Any) -> Parsed:
    """Read what a gate needs.

    Raises:
        ConfigError: It is not there, or cannot be what an audit found.
    """
    try:
        host, change = report.get("perturbed", report), report.get("change")
        if (change is None) != (host is report):
            raise LookupError(f"no `{'perturbed' if host is report else 'change'}`")
        metric, reference = _text(report["metric"]), _text(report["reference"])
        difference = _estimates(host["difference"])
        _check_groups("difference", {reference, *difference}, host)
        changed = None
        if change is not None:
            changed = _estimates(change["by_group"])
            _check_groups("change", {*changed}, report["host"])
        return Parsed(metric, reference, difference, changed)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            "no report: the JSON of an audit or a comparison is expected, with `metric`, "
            "`reference`, `by_group` and `difference`, or `host`, `perturbed` and `change` in "
            f"their place ({_lacking(error)})"
        ) from error


def _lacking(error: Exception) -> str:
    return f"no `{error.args[0]}`" if isinstance(error, KeyError) else str(error)


def _check_groups(what: str, found: set[str], host: Mapping[str, Any]) -> None:
    """Raise unless what is judged is of all groups: one that was taken out would pass."""
    if apart := sorted(found ^ {*host["by_group"]}):
        raise ValueError(f"`{what}` and `by_group` are not of the same groups: {', '.join(apart)}")


def _estimates(block: Mapping[str, Mapping[str, Any]]) -> dict[str, Estimate]:
    return {label: _estimate(label, one) for label, one in block.items()}


def _estimate(label: str, one: Mapping[str, Any]) -> Estimate:
    """Make an estimate of what the JSON says of it; null there is NaN here."""
    names = ("value", "low", "high", "se", "df", "confidence")
    value, low, high, se, df, confidence = (_number(one[name]) for name in names)
    # Each comparison with NaN is false, so that what is not known is not refused.
    if low > high or value < low or value > high:
        raise ValueError(f"{label}: the interval [{low:g}, {high:g}] does not hold {value:g}")
    if se < 0 or df <= 0 or not 0 < confidence < 1:
        raise ValueError(f"{label}: se {se:g}, df {df:g}, confidence {confidence:g}")
    return Estimate(
        value=value,
        low=low,
        high=high,
        se=se,
        df=df,
        confidence=confidence,
        n_cases=_count(one["n_cases"]),
        n_clusters=_count(one["n_clusters"]),
        minimum_detectable=float("nan"),
    )


def _number(value: Any) -> float:
    """Return a number as a float; null is NaN, and NaN or infinity no number of strict JSON."""
    if value is None:
        return nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise TypeError(f"a finite number or null is expected, got {value!r:.40}")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"a count is expected, got {value!r:.40}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is expected, got a value of type {type(value).__name__}")
    return value
