"""The first page: the answers, the figures that decided, and how far they go."""

from apple_seg.audit.comparison import Comparison
from apple_seg.audit.inference.intervals import Estimate
from apple_seg.audit.report.answers import (
    change_answer,
    clearest,
    difference_answer,
)
from apple_seg.audit.report.cautions import not_concluded
from apple_seg.audit.report.document import (
    Answer,
    Block,
    Bullets,
    Fact,
    Facts,
    Prose,
    Section,
)
from apple_seg.audit.report.headline import headline
from apple_seg.audit.report.phrases import GLOSSES, confidence, quoted
from apple_seg.audit.report.reading import Result, audits_of, difference_name, host_of
from apple_seg.audit.results import Audit
from apple_seg.audit.tables import Form, form_of, title_of

LIMITS = "Limits of the numbers"
"""What the section is called where others refer to it."""


def title(result: Result) -> str:
    """Return what the report is called."""
    metric, attribute = title_of(result.settings.metric), host_of(result).attribute
    if isinstance(result, Audit):
        return f"Audit of a segmentor: {metric} by {attribute}"
    return f"Segmentor with and without perturber: {metric} by {attribute}"


def lead(result: Result) -> str:
    """Say what was done, with each word explained that the answers need."""
    metric, host = result.settings.metric, host_of(result)
    cases, total = len(result.cases), f"{len(result.cases):,} cases"
    clusters = result.cases["cluster"].nunique()
    of = (
        ""
        if clusters == cases
        else f" of {clusters:,} clusters (patients, or what stands for them)"
    )
    ran = (
        f"A segmentor drew masks of {total}{of}."
        if isinstance(result, Audit)
        else f"A segmentor (the host) drew masks of the same {total}{of} twice: as it is deployed, "
        "and perturbed. A perturber is a small part that changes what one stage of it hands to "
        "the next, and leaves its weights as they are."
    )
    several = f", a case's mean over its classes ({', '.join(host.by_class)})"
    return (
        f"{ran} They are held against drawn masks by {title_of(metric)}, {GLOSSES[metric]}"
        f"{several if host.by_class else ''}; "
        f"more is better. Cases are grouped by {host.attribute}, and a difference is the mean of "
        f"the reference group, {quoted(host.reference)}, minus that of another. Each number comes "
        f"with its {confidence(result)} interval, which is made so that it holds the true value in "
        f"{100 * result.settings.confidence:.4g} of 100 such studies."
    )


def opening(result: Result) -> Section:
    """Return the section that everybody reads."""
    return Section(
        name="answer",
        title="The answer",
        blocks=(*answers(result), _facts(result), headline(result)),
        parts=(_decided(result),),
    )


def mind(result: Result) -> Section:
    """Return what has to be kept in mind: what does not follow, and what limits the numbers."""
    lists = {
        "not-concluded": ("What may not be concluded", not_concluded(result)),
        "caveats": ("What is known of these cases", tuple(result.caveats)),
        "limits": (LIMITS, tuple(result.notes)),
    }
    return Section(
        name="mind",
        title="To be kept in mind",
        blocks=(),
        parts=tuple(
            Section(name=name, title=title, blocks=(Bullets(lines),))
            for name, (title, lines) in lists.items()
            if lines
        ),
    )


def _decided(result: Result) -> Section:
    """Return the numbers that decided, at the confidence that decided."""
    blocks: list[Block] = [Prose(_WIDER)]
    for one in answers(result):
        blocks.append(Prose(f"{one.question} {one.heading.capitalize()}:"))
        blocks.append(Bullets(one.reasons or ("there are no two groups to compare",)))
    return Section(name="decided", title="The numbers that decided", blocks=tuple(blocks))


_WIDER = (
    "Several comparisons are made at once, and so these intervals are wider than the others of "
    "this report."
)


def answers(result: Result) -> tuple[Answer, ...]:
    """Return the answers to all questions, the most important one first."""
    if isinstance(result, Audit):
        return (difference_answer(result),)
    return (
        change_answer(result),
        difference_answer(result.host, "Do the groups differ under the host as deployed?"),
        difference_answer(result.perturbed, "Do they differ with the perturber?"),
    )


def _facts(result: Result) -> Facts:
    return Facts(_audit_facts(result) if isinstance(result, Audit) else _change_facts(result))


def _audit_facts(audit: Audit) -> tuple[Fact, ...]:
    metric, worst = audit.settings.metric, audit.worst_group
    form = form_of(metric)
    facts = []
    if worst is not None:
        found = audit.by_group[worst]
        detail = f"interval {form.range(found.low, found.high)}, {found.n_cases:,} cases"
        facts.append(
            Fact(
                f"{title_of(metric)} of the worst group, {worst}", form.number(found.value), detail
            )
        )
    if (named := clearest(audit.difference.items())) is not None:
        label, found = named
        form = form.difference
        facts.append(
            Fact(
                difference_name(audit, label),
                form.number(found.value),
                f"interval {form.range(found.low, found.high)}",
            )
        )
        facts.append(
            Fact(
                "Smallest difference whose interval would leave out 0 in 4 of 5 such studies",
                Form(form.digits).number(found.minimum_detectable),
                f"declared as worth showing: {audit.settings.difference_margin:g}",
            )
        )
    return tuple(facts)


def _change_facts(comparison: Comparison) -> tuple[Fact, ...]:
    metric, worst = comparison.settings.metric, comparison.worst_group
    form, facts = form_of(metric), []
    if worst is not None:
        means = (one.by_group[worst] for one in audits_of(comparison).values())
        facts.append(
            Fact(
                f"{title_of(metric)} of the worst group, {worst}",
                " → ".join(form.number(one.value) for one in means),
                _change(comparison.by_group[worst], form.difference),
            )
        )
    if comparison.followed is not None:
        followed, form = comparison.followed, form.difference
        facts.append(
            Fact(
                f"{followed.better} minus {followed.worse}",
                f"{form.number(followed.host.value)} → {form.number(followed.perturbed.value)}",
                _change(followed.change, form),
            )
        )
    fine = list(comparison.non_inferior.values())
    facts.append(
        Fact(
            f"Groups that cannot have lost {comparison.settings.margin:g}",
            f"{sum(one is True for one in fine)} of {len(fine)}",
            "the most that a group may lose, declared before",
        )
    )
    return tuple(facts)


def _change(found: Estimate, form: Form) -> str:
    return f"change {form.interval(found)}"
