"""Whether a report lets a host pass: by what its intervals exclude, never by its point estimates.

For each condition and everything that it is of, a difference or a group's change:

- it *holds* where the interval of the report lies inside the limits. All must, so this takes no
  correction: a difference as large as its limit passes in at most alpha / 2 of such cohorts.
- it is *violated* where an interval lies wholly outside the limits, at a confidence corrected for
  the number m of those tested (Bonferroni: 1 - alpha / m, from the report's standard errors and
  degrees of freedom): of cohorts that keep all limits a condition fails at most alpha / 2.
- otherwise it is *undecided*, as it is where the report has no interval.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any, NamedTuple

from apple_seg.audit.inference.intervals import Estimate
from apple_seg.errors import ConfigError


class GateCode(IntEnum):
    """What a gate decided; the exit status of the command."""

    PASS = 0
    FAIL = 1
    UNDECIDED = 2
    """Not enough cases to decide."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of one difference, or of one group's change."""

    code: GateCode
    line: str
    """A sentence with the numbers."""


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """What a gate decided, and why."""

    code: GateCode
    """FAIL where anything is violated; else PASS where everything holds; else UNDECIDED."""

    findings: tuple[Finding, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """A sentence a finding, the worst first."""
        order = (GateCode.FAIL, GateCode.UNDECIDED, GateCode.PASS)
        return tuple(one.line for one in sorted(self.findings, key=lambda x: order.index(x.code)))


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
        _parse_all(content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return dict(content)


def gate(
    report: Mapping[str, Any],
    *,
    max_difference: float | None = None,
    no_group_worse: float | None = None,
) -> GateResult:
    """Decide on a report as `Audit.to_json` or `Comparison.to_json` writes it.

    Further attributes, under the report's key `others`, are held to the same conditions. Of several
    groups each is compared with the reference, not with one another.

    Args:
        report: Read from JSON.
        max_difference: What no reference-minus-group difference may reach, in units of the
            report's metric: of the perturbed host in a comparison, of the host in an audit.
        no_group_worse: What no group may have lost; needs a comparison.

    Raises:
        ConfigError: No condition, a limit that is not positive, no comparison where one is needed,
            or no report, or one that was changed: a group taken out, or an interval that does not
            hold its value.
    """
    limits = {"max_difference": max_difference, "no_group_worse": no_group_worse}
    given = {name: limit for name, limit in limits.items() if limit is not None}
    if not given:
        raise ConfigError(f"a gate needs a condition: {' or '.join(limits)}")
    for name, limit in given.items():
        least = "0 or more" if name == "no_group_worse" else "above 0"
        if not (isfinite(limit) and (limit > 0 or (limit == 0 and least == "0 or more"))):
            raise ConfigError(f"{name} is a number {least}, got {limit}")
    reports = _parse_all(report)
    findings: list[Finding] = []
    if max_difference is not None:
        findings += _judge_all(_differences(reports), low=-max_difference, high=max_difference)
    if no_group_worse is not None:
        findings += _judge_all(_changes(reports), low=-no_group_worse, high=inf)
    codes = {one.code for one in findings}
    worst = GateCode.FAIL if GateCode.FAIL in codes else GateCode.UNDECIDED
    code = GateCode.PASS if codes == {GateCode.PASS} else worst
    return GateResult(code=code, findings=tuple(findings))


Named = Sequence[tuple[str, Estimate]]


def _judge_all(named: Named, *, low: float, high: float) -> list[Finding]:
    """Judge all that one condition is of; where there is nothing, nothing holds."""
    if not named:
        line = "There is no difference and no change to judge: the report has one group only."
        return [Finding(code=GateCode.UNDECIDED, line=line)]
    return [_judge(name, one, low=low, high=high, tested=len(named)) for name, one in named]


def _judge(name: str, one: Estimate, *, low: float, high: float, tested: int) -> Finding:
    """Compare an interval with the limits: inside, beyond, or neither."""
    allowed = f"above {low:g}" if high == inf else f"between {low:g} and {high:g}"
    if not one.known:
        line = (
            f"{name}: undecided, since {one.n_cases} cases of {one.n_clusters} clusters give no "
            f"interval; {allowed} is asked for."
        )
        return Finding(code=GateCode.UNDECIDED, line=line)
    if low < one.low and one.high < high:
        return Finding(code=GateCode.PASS, line=f"{name}: holds, {_say(one)} lies {allowed}.")
    strict = one.at(1 - (1 - one.confidence) / tested)
    if strict.low > high or strict.high < low:
        return Finding(
            code=GateCode.FAIL,
            line=f"{name}: violated, {_say(strict)}, which allows for {tested} tested, lies wholly "
            f"outside; {allowed} is asked for.",
        )
    return Finding(
        code=GateCode.UNDECIDED,
        line=f"{name}: undecided, {_say(one)} does not lie {allowed}, and {_say_interval(strict)}, "
        f"which allows for {tested} tested, does not lie wholly outside: more cases would tell.",
    )


def _say(one: Estimate) -> str:
    return f"{one.value:+.4f} of {one.n_cases} cases with {_say_interval(one)}"


def _say_interval(one: Estimate) -> str:
    return f"the {100 * one.confidence:.4g} % interval [{one.low:+.4f}, {one.high:+.4f}]"


class _Parsed(NamedTuple):
    """What a gate reads of a report."""

    metric: str
    reference: str
    difference: Mapping[str, Estimate]
    change: Mapping[str, Estimate] | None
    """None where the report is of one host."""


def _differences(reports: Sequence[_Parsed]) -> Named:
    return [
        (f"difference in {report.metric}, {report.reference} minus {group}", one)
        for report in reports
        for group, one in report.difference.items()
    ]


def _changes(reports: Sequence[_Parsed]) -> Named:
    named = []
    for report in reports:
        if report.change is None:
            raise ConfigError(
                "no_group_worse is of the change that a perturber made, and this is the report of "
                "an audit; give that of a comparison"
            )
        named += [
            (f"change in {report.metric} of {group}", one) for group, one in report.change.items()
        ]
    return named


def _parse_all(report: Any) -> list[_Parsed]:
    """Read a report and the further attributes under `others`."""
    first = _parse(report)
    others = report.get("others", [])
    if not isinstance(others, list):
        kind = type(others).__name__
        raise ConfigError(f"no report: `others` is a list of reports, got a value of type {kind}")
    return [first, *map(_parse, others)]


def _parse(report: Any) -> _Parsed:
    """Read what a gate needs.

    Raises:
        ConfigError: It is not there, or cannot be what an audit found.
    """
    try:
        host, change = report.get("perturbed", report), report.get("change")
        if (change is None) != (host is report):
            raise KeyError("perturbed" if host is report else "change")
        metric, reference = _text(report["metric"]), _text(report["reference"])
        difference = _estimates(host["difference"])
        _check_groups("difference", {reference, *difference}, host)
        changed = None
        if change is not None:
            changed = _estimates(change["by_group"])
            _check_groups("change", {*changed}, report["host"])
        return _Parsed(metric, reference, difference, changed)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            "no report: the JSON of an audit or a comparison is expected, with `metric`, "
            "`reference`, `by_group` and `difference`, or `host`, `perturbed` and `change` in "
            f"their place ({type(error).__name__}: {error})"
        ) from error


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
