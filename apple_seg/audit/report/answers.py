"""The verdicts in plain words: what was asked, the answer, the numbers, how far it goes."""

from collections.abc import Iterable

from apple_seg.audit.comparison import Comparison
from apple_seg.audit.inference.intervals import Estimate
from apple_seg.audit.report.document import Answer
from apple_seg.audit.report.phrases import enumerate_words, level, quoted, with_interval
from apple_seg.audit.results import Audit
from apple_seg.audit.tables import Form, form_of, title_of
from apple_seg.audit.verdicts import Change, Difference, Judgement

_TONES = {
    Difference.PRESENT: "mixed",
    Difference.NOT_SHOWN: "none",
    Difference.NOT_ENOUGH: "unknown",
    Change.HARMED: "bad",
    Change.LEVELLED_DOWN: "mixed",
    Change.NOT_ENOUGH: "unknown",
    Change.IMPROVED: "good",
    Change.NOT_DETECTED: "none",
}

_OF_FIVE = "in 4 of 5 such studies"
"""Of intervals at the displayed confidence; verdicts allow for several, and so miss more."""
"""The power of the smallest detectable value."""


def difference_answer(audit: Audit, question: str = "Do the groups differ?") -> Answer:
    """Say whether the groups differ under one host."""
    answer = audit.difference_verdict.answer
    enough = answer is not Difference.NOT_ENOUGH
    heading = f"difference {answer}" if enough else str(answer)
    return _answer(question, heading, audit.difference_verdict, _difference_said(audit))


def change_answer(comparison: Comparison) -> Answer:
    """Say what the perturber did."""
    judged = comparison.change_verdict
    return _answer(
        "What did the perturber do?", str(judged.answer), judged, _change_said(comparison)
    )


def clearest(differences: Iterable[tuple[str, Estimate]]) -> tuple[str, Estimate] | None:
    """Return the difference that is furthest from 0 for its standard error."""

    def distance(named: tuple[str, Estimate]) -> tuple[bool, float]:
        found = named[1]
        if not found.known:
            return False, abs(found.value) if found.n_cases else -1.0
        return True, abs(found.value) / found.se if found.se > 0 else abs(found.value) * 1e12

    return max(differences, key=distance, default=None)


def _answer(question: str, heading: str, judged: Judgement, said: str) -> Answer:
    return Answer(
        question=question,
        heading=heading,
        answer=str(judged.answer),
        said=said,
        definition=judged.definition,
        reasons=judged.reasons,
        tone=_TONES[judged.answer],
    )


def _difference_said(audit: Audit) -> str:
    metric, margin = audit.settings.metric, audit.settings.difference_margin
    named = clearest(audit.difference.items())
    if named is None or named[1].n_cases == 0:
        return "These cases cannot tell: no two groups have a scored case."
    label, found = named
    signed = form_of(metric).difference
    base = (
        f"Mean {title_of(metric)} is {level(audit, audit.reference)}, the reference, and "
        f"{level(audit, label)}: a difference of {with_interval(found, signed)}."
    )
    many = len(audit.difference) > 1
    which = " It is the clearest of several; the figure shows all." if many else ""
    if audit.difference_verdict.answer is Difference.PRESENT:
        return f"Yes. {base}{which}"
    chance = (
        "Its interval leaves out 0, but not when the number of comparisons is allowed for."
        if found.excludes_zero
        else "Chance alone may explain it."
    )
    if audit.difference_verdict.answer is Difference.NOT_SHOWN:
        return (
            f"None could be shown. {base}{which} {chance} The interval of a true "
            f"difference of {margin:g} would have left out 0 {_OF_FIVE}."
        )
    return f"These cases cannot tell. {base}{which} {chance} {_missed(audit, margin, signed)}"


def _missed(audit: Audit, margin: float, form: Form) -> str:
    """Say how large a difference would have had to be."""
    detectable = {label: one.minimum_detectable for label, one in audit.difference.items()}
    blind = {label: one for label, one in detectable.items() if not one <= margin}
    known = [one for one in blind.values() if one == one]
    if not known:
        return "Some groups have too few cases to say anything of them."
    return (
        f"A difference of {margin:g} may have been missed: the least whose interval would leave "
        f"out 0 {_OF_FIVE} is {Form(form.digits).number(max(known))}."
    )


def _change_said(comparison: Comparison) -> str:
    answer, margin = comparison.change_verdict.answer, comparison.settings.margin
    if answer is Change.HARMED:
        harmed = [
            _moved_said(one, label)
            for one in (comparison, *comparison.others)
            for label, fine in one.non_inferior.items()
            if fine is False and one.change_verdict.answer is Change.HARMED
        ]
        return (
            f"It harmed. {' '.join(harmed)} That is "
            f"more than the {margin:g} that was declared as the most a group may lose."
        )
    worst = comparison.followed.worse if comparison.followed else comparison.worst_group
    parts = [_moved_said(comparison, worst)] if worst is not None else []
    parts += [_difference_moved(comparison)] if comparison.followed else []
    if answer is Change.NOT_ENOUGH:
        return f"These cases cannot tell. {' '.join(parts)} {_unseen(comparison, margin)}"
    if answer is Change.LEVELLED_DOWN and comparison.followed:
        lost = _moved_said(comparison, comparison.followed.better)
        return (
            "The gap narrowed, but mostly because the better group lost. "
            f"{_difference_moved(comparison)} {lost}"
        )
    if answer is Change.IMPROVED:
        return (
            f"It helped. {' '.join(parts)} No other group can have lost {margin:g}, which was "
            "declared as the most that one may lose."
        )
    return (
        f"Neither an improvement nor a harm could be shown. {' '.join(parts)} "
        f"{_too_little(comparison, margin)}"
    )


def _too_little(comparison: Comparison, margin: float) -> str:
    """Say why what moved is neither an improvement nor a harm, and how small it is."""
    followed, groups = comparison.followed, comparison.by_group
    said = []
    if fell := [quoted(label) for label, found in groups.items() if found.high < 0]:
        said.append(f"What {enumerate_words(fell)} lost is not shown to be more than {margin:g}.")
    better = followed is not None and (groups[followed.worse].low > 0 or followed.change.high < 0)
    risked = [
        quoted(label)
        for label, fine in comparison.non_inferior.items()
        if not fine and followed is not None and label != followed.worse
    ]
    if better and risked:
        said.append(
            f"That {enumerate_words(risked)} lost {margin:g} is not excluded, so that it cannot be "
            "called an improvement."
        )
    elif better:
        said.append(
            "An interval that leaves out 0 by itself is not enough: several comparisons are made "
            "at once, and the more there are, the likelier chance makes one look like that."
        )
    if all(max(abs(one.low), abs(one.high)) < margin for one in groups.values()):
        said.append(f"In every group the change is smaller than {margin:g}, the declared margin.")
    return " ".join(said)


def _moved_said(comparison: Comparison, label: str) -> str:
    """Say where a group was and where it is."""
    metric = comparison.settings.metric
    form = form_of(metric)
    before, after = (
        form.number(one.by_group[label].value) for one in (comparison.host, comparison.perturbed)
    )
    found = comparison.by_group[label]
    role = ", the worst-served group," if label == comparison.worst_group else ""
    return (
        f"Mean {title_of(metric)} in {quoted(label)}{role} went from {before} to {after}: a change "
        f"of {with_interval(found, form.difference)}."
    )


def _difference_moved(comparison: Comparison) -> str:
    """Say what became of the difference that is followed."""
    followed = comparison.followed
    if followed is None:
        return ""
    form = form_of(comparison.settings.metric).difference
    return (
        f"The difference, {quoted(followed.better)} minus {quoted(followed.worse)}, went from "
        f"{form.number(followed.host.value)} to {form.number(followed.perturbed.value)}: a change "
        f"of {with_interval(followed.change, form)}."
    )


def _unseen(comparison: Comparison, margin: float) -> str:
    """Say of which groups a change as large as the margin may have been missed."""
    blind = [
        quoted(label)
        for label, found in comparison.by_group.items()
        if not found.minimum_detectable <= margin
    ]
    if not blind:
        return "There are no two groups to compare."
    return (
        f"In {enumerate_words(blind)} a change of {margin:g} may have been missed: its interval "
        f"would not have left out 0 {_OF_FIVE}."
    )
