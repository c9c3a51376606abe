"""How it was decided: limits, definitions, what was declared, other tools' numbers."""

from collections.abc import Mapping

from apple_seg.audit.comparison import Comparison
from apple_seg.audit.report.case_tables import empties_table, none_empty
from apple_seg.audit.report.document import Block, Prose, Section, Tabled, Terms, tabled
from apple_seg.audit.report.metric_tables import (
    class_table,
    metrics_table,
    policy_table,
    policy_terms,
)
from apple_seg.audit.report.reading import Result, audits_of, bootstrapped, host_of
from apple_seg.audit.results import Audit
from apple_seg.audit.tables import Form, Table
from apple_seg.audit.verdicts import DEFINITIONS
from apple_seg.files import plain

_SETTINGS = {
    "metric": "what verdicts are taken on",
    "metrics": "what else is measured",
    "margin": "how much of the metric a group may lose at most",
    "difference_margin": "the difference between groups that these cases should be able to show",
    "confidence": "of all intervals, two-sided",
    "resamples": "of the bootstrap",
    "seed": "of bootstrap and permutations",
    "policy": "what a score is where a mask is empty",
    "tolerance": "of the NSD, in the unit of distances",
    "batch_size": "cases in memory at once; changes no number",
    "permutations": "of the test that gives p",
    "covariates": "what differences are adjusted for, beside the size of the mask",
    "curves": "numbers that the metric is drawn against; where none is named, those that are cut",
    "gather": "the column that says which slices are one volume",
    "thickness": "the column with the millimetres from slice to slice",
    "gallery": "pictures of each kind and group",
}


def measures(result: Result) -> Section:
    """Return all metrics, and the classes one by one."""
    return Section(
        name="measures",
        title="All measures",
        blocks=tabled([metrics_table(result), class_table(result)]),
        folded=True,
    )


def empties(result: Result) -> Section:
    """Return empty masks, and what the answer would be under other policies for them."""
    tables = tabled([empties_table(result), policy_table(result)])
    return Section(
        name="empties",
        title="Empty masks, and what they are worth",
        blocks=(
            Prose(
                "A score of an empty mask is a matter of convention, a policy, and where one group "
                "has more empty masks than another the policy can make a difference or hide one."
            ),
            *([Prose(none)] if (none := none_empty(result)) else [*tables, Terms(policy_terms())]),
        ),
    )


def conventions(result: Result) -> Section | None:
    """Return what other tools would print; None where there is no Dice."""
    named = host_of(result).conventions
    if not named:
        return None
    audits, form = audits_of(result), Form(digits=4)
    rows: list[tuple[str, ...]] = []
    parts = {}
    for name, one in named.items():
        parts[len(rows)] = f"{name}: {one.description.source}"
        rows += [
            (key, *(_figure(audit, name, key, form) for audit in audits.values()))
            for key in one.figures
        ]
    titles = ["value"] if isinstance(result, Audit) else list(audits)
    table = Table("By the tools' own names", ("", *titles), rows, "", parts)
    terms = tuple(
        (
            name,
            f"{one.description.formulas}. {one.description.left_out} Empty masks: "
            f"{one.description.empties}.",
        )
        for name, one in named.items()
    )
    return Section(
        name="conventions",
        title="The numbers of other tools",
        blocks=(
            Prose(
                "For comparison with what others print. They are numbers without intervals: they "
                "do not say how much of them is chance, and no verdict rests on them. D is the "
                "mean of all cases, D_g that of group g."
            ),
            Tabled(table),
            Terms(terms),
        ),
        folded=True,
    )


def _figure(audit: Audit, name: str, key: str, form: Form) -> str:
    """Write a figure; of several training runs other tools have none."""
    found = audit.conventions.get(name)
    return "-" if found is None else form.number(found.figures[key])


def method(result: Result) -> Section:
    """Return how it was decided, and what was declared before."""
    both = ["change", "difference"] if isinstance(result, Comparison) else ["difference"]
    blocks: list[Block] = [Prose(f"{_INTERVALS} {_bootstrap(result)} {_PERMUTATIONS}")]
    if isinstance(result, Comparison):
        blocks.append(Prose(_PAIRED.format(runs=_runs(result))))
    blocks.append(Prose("Of the possible answers to each question the first that holds is given:"))
    blocks += [
        Terms(tuple((f"{name}: {answer}", said) for answer, said in DEFINITIONS[name].items()))
        for name in both
    ]
    blocks += [Tabled(_declared(result)), Tabled(_groups(result))]
    return Section(name="method", title="How it was decided", blocks=tuple(blocks))


_INTERVALS = (
    "Intervals are cluster-robust t intervals (CR2 variances with Satterthwaite's degrees of "
    "freedom; Bell and McCaffrey 2002): they know that cases of one cluster, such as a patient, "
    "are alike."
)
_PERMUTATIONS = (
    "Permutation tests deal clusters to groups at random and compare differences by their standard "
    "errors."
)
_PAIRED = "A change is paired: it is of the same cases under both hosts.{runs}"


def _runs(result: Comparison) -> str:
    if result.runs < 2:
        return " The perturber was trained once: how far another training would move is not known."
    return f" It is the mean of {result.runs} training runs."


def _bootstrap(result: Result) -> str:
    """Say what stands beside the t intervals, or why nothing does."""
    if bootstrapped(result):
        return "The bootstrap draws clusters within groups and takes percentiles."
    if isinstance(result, Comparison) and result.runs > 1:
        return (
            "No bootstrap stands beside them: it draws patients again, and would say nothing of "
            "what another training run would change."
        )
    return "No bootstrap stands beside them."


def _declared(result: Result) -> Table:
    settings: Mapping[str, object] = plain(result.settings)
    rows = [(name, _value(value), _SETTINGS.get(name, "")) for name, value in settings.items()]
    return Table("Declared before", ("setting", "value", "what it is"), rows)


def _groups(result: Result) -> Table:
    rows = [
        (host.attribute, host.reference, "; ".join(host.by_group))
        for host in (host_of(one) for one in (result, *result.others))
    ]
    return Table("Groups, declared before", ("attribute", "reference", "groups"), rows)


def _value(value: object) -> str:
    if value is None:
        return "none named"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
