"""Whether a report lets a host pass: by what its intervals exclude, never by its point estimates.

For each condition and everything that it is of, a difference or a group's change:

- it *holds* where the interval of the report lies inside the limits. All must, so this takes no
  correction: a difference as large as its limit passes in at most alpha / 2 of such cohorts.
- it is *violated* where an interval lies wholly outside the limits, at a confidence corrected for
  the number m of those tested (Bonferroni: 1 - alpha / m, from the report's standard errors and
  degrees of freedom): of cohorts that keep all limits a condition fails at most alpha / 2.
- otherwise it is *undecided*, as it is where the report has no interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import inf, isfinite
from typing import Any

from apple_seg.audit.inference.intervals import Estimate
from apple_seg.audit.report_json import Parsed, parse_all
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
    reports = parse_all(report)
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
    allowing = f", which allows for {tested} tested," if tested > 1 else ""
    if strict.low > high or strict.high < low:
        return Finding(
            code=GateCode.FAIL,
            line=f"{name}: violated, {_say(strict)}{allowing} lies wholly outside; {allowed} is "
            "asked for.",
        )
    # Of one that is tested both intervals are the same one, which is written once.
    wider = f"and {_say_interval(strict)}{allowing} does not" if tested > 1 else "nor does it"
    return Finding(
        code=GateCode.UNDECIDED,
        line=f"{name}: undecided, {_say(one)} does not lie {allowed}, {wider} lie wholly outside: "
        "more cases would tell.",
    )


def _say(one: Estimate) -> str:
    return f"{one.value:+.4f} of {one.n_cases} cases with {_say_interval(one)}"


def _say_interval(one: Estimate) -> str:
    return f"the {100 * one.confidence:.4g} % interval [{one.low:+.4f}, {one.high:+.4f}]"


def _differences(reports: Sequence[Parsed]) -> Named:
    return [
        (f"difference in {report.metric}, {report.reference} minus {group}", one)
        for report in reports
        for group, one in report.difference.items()
    ]


def _changes(reports: Sequence[Parsed]) -> Named:
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
