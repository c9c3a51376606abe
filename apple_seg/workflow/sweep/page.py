"""A sweep as one HTML file: the choice, the Pareto picture, and the tables beneath."""

from collections.abc import Sequence
from importlib import metadata

from apple_seg.audit.report.document import (
    Bullets,
    Document,
    Plot,
    Plots,
    Section,
    Tabled,
)
from apple_seg.audit.report.page import page
from apple_seg.workflow.sweep.choice import Sweep
from apple_seg.workflow.sweep.picture import TITLE, alt, pareto
from apple_seg.workflow.sweep.words import ranking_table, seeds_table

_CAPTION = (
    "Each combination is a circle, coloured by its overall Dice and numbered by its place in the "
    "table beneath (bold on the front; where there is no room, the number is left out); thin lines "
    "lead to its seeds. The dashed steps are the Pareto front: nothing else has both a better "
    "worst group and a smaller difference. All of it is validation, on which everything was "
    "chosen; none of it is the test split."
)


def sweep_html(sweep: Sweep, words: Sequence[str]) -> str:
    """Write a page that needs no network.

    Args:
        sweep: What was found.
        words: What is said of the choice.
    """
    plan = sweep.plan
    groups = plan.base.groups
    plots = Plots(TITLE, (Plot("", lambda: pareto(sweep), alt(sweep)),), _CAPTION)
    each = Section(
        name="seeds", title="Every fit", blocks=(Tabled(seeds_table(sweep)),), folded=True
    )
    return page(
        Document(
            title=f"Sweep: Dice by {groups.attribute} on validation",
            lead=(
                f"{len(sweep.tried)} combinations of settings were each fitted with "
                f"{len(plan.seeds)} seeds on the split “{plan.base.splits.fit}” and judged on "
                f"“{plan.base.splits.validation}”. The split “{plan.base.splits.audit}” was not "
                "read. Each number is a mean Dice, the overlap of predicted and drawn mask from 0 "
                "to 1."
            ),
            sections=(
                Section(name="answer", title="The choice", blocks=(Bullets(tuple(words)),)),
                Section(name="picture", title="What was reached", blocks=(plots,)),
                Section(
                    name="table",
                    title="All combinations",
                    blocks=(Tabled(ranking_table(sweep)),),
                    parts=(each,),
                ),
            ),
            footer=f"Made by apple-seg {metadata.version('apple-seg')}.",
        )
    )
