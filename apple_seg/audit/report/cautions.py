"""What does not follow from the answers, in sentences that go with them."""

from apple_seg.audit.comparison import Comparison
from apple_seg.audit.report.confounding import CONFOUNDING
from apple_seg.audit.report.reading import moved
from apple_seg.audit.results import Audit
from apple_seg.audit.tables import title_of
from apple_seg.audit.verdicts import Change, Difference


def not_concluded(result: Audit | Comparison) -> tuple[str, ...]:
    """Say what does not follow from the answers, however clear they are."""
    return (
        *(_not_of_change(result) if isinstance(result, Comparison) else ()),
        *_not_of_difference(result if isinstance(result, Audit) else result.host),
        "Anything about cases unlike these: other hospitals, devices or ways of drawing masks. "
        "Intervals speak of further cases that come as these came.",
        f"What a patient gains or loses by it: {title_of(result.settings.metric)} compares a mask "
        "with a drawn one, and says nothing of what follows in care.",
    )


def _not_of_difference(audit: Audit) -> tuple[str, ...]:
    margin, answer = audit.settings.difference_margin, audit.difference_verdict.answer
    if answer is Difference.PRESENT:
        where = (
            f": see “{CONFOUNDING}”."
            if audit.adjusted
            else ". None of it could be adjusted for here: that takes the sizes of the masks, or "
            "columns that are declared as covariates."
        )
        return (
            "Why the groups differ. They may also differ in the size of what is segmented, in "
            f"diagnosis or in how images were taken{where}",
        )
    if answer is Difference.NOT_SHOWN:
        return (
            "That the groups are served alike: only that a mean difference as large as "
            f"{margin:g} would have had an interval that leaves out 0 in 4 of 5 such studies.",
        )
    return ("That there is no difference, or that there is one: more cases are needed.",)


_UNDECIDED = {
    True: "That the perturber helps, or that it does not: more cases, or training runs where there "
    "are several, would tell.",
    False: "That the perturber is safe, or that it is not: more cases, or training runs where "
    "there are several, would tell.",
}
"""By whether every group is known not to have lost the margin."""


def _not_of_change(comparison: Comparison) -> tuple[str, ...]:
    margin = comparison.settings.margin
    counts = [moved(comparison, label) for label in comparison.by_group]
    lost, everyone = (sum(one[key] for one in counts) for key in ("lost", "all"))
    single = (
        f"That every patient is served as the mean says: {lost:,} of {everyone:,} single cases "
        f"lost more than {margin:g}."
    )
    judged = comparison.change_verdict.answer
    more = {
        Change.NOT_ENOUGH: _UNDECIDED[all(comparison.non_inferior.values())],
        Change.LEVELLED_DOWN: "That a narrower gap is a gain: nobody is served better by what "
        "another group lost.",
        Change.HARMED: "That the harm ends with these groups: what was not audited was not looked "
        "at.",
    }
    said = (sentence for answer, sentence in more.items() if answer is judged)
    return (*said, single)
