"""Whether a segmentor answers by the vote of several views: validation is asked at the end."""

import time
from collections.abc import Sequence
from dataclasses import replace

from apple_seg.data import Cohort, Groups
from apple_seg.host import Pipeline
from apple_seg.measure import score
from apple_seg.perturb.record import FitResult
from apple_seg.perturb.selection import RULES, Candidate, Vote
from apple_seg.perturb.task import FitTask
from apple_seg.perturb.validation import candidate_of
from apple_seg.processes import ONE, Processes


def voted(task: FitTask, result: FitResult, processes: Processes = ONE) -> FitResult:
    """Return what a fit did, with the vote where its method asks for one and it has the views."""
    if not task.method.parts.vote or len(task.settings.views) < 2:
        return result
    start = time.perf_counter()
    vote = put_to_vote(
        task.pipeline,
        task.validation,
        groups=task.attributes.first,
        views=task.settings.views,
        rule=task.settings.selection or task.method.selection,
        margin=task.settings.margin,
        alone=(result.candidates[0], result.selected),
        processes=processes,
        progress=task.progress and processes.main,
    )
    seconds = result.seconds + time.perf_counter() - start
    return replace(result, vote=vote, seconds=seconds)


def put_to_vote(
    pipeline: Pipeline,
    validation: Cohort,
    *,
    groups: Groups | None,
    views: Sequence[str],
    rule: str,
    margin: float,
    alone: Sequence[Candidate],
    processes: Processes = ONE,
    progress: bool = True,
) -> Vote:
    """Let the segmentor answer by the vote of several views, if the rule prefers that.

    The same rule that kept the epoch: it asks whether the group served worst gains, and no group
    loses more than the margin from the host as deployed, which answers in one view.

    Args:
        pipeline: With the perturbers that were kept; its segmentor's `views` are set, or left.
        validation: The cases that the epoch was chosen on.
        groups: What the epoch was chosen by, if anything.
        views: That patients could be seen in, two or more.
        rule: One of `RULES`.
        margin: As the rule takes it.
        alone: What validation said of answers of one view: the identity's, and those of the epoch
            that was kept.
        processes: Those that share the cases.
        progress: Whether to show a bar.

    Raises:
        ConfigError: The host's prompts do not turn with the image.
    """
    segmentor = pipeline.segmentor
    before, segmentor.views = segmentor.views, tuple(views)
    try:
        table = score(
            pipeline,
            validation,
            metrics=("dice",),
            progress=progress,
            description=f"validation, by the vote of {len(views)} views",
            processes=processes,
        )
    finally:
        segmentor.views = before
    identity, chosen = alone
    candidate = candidate_of(table, validation, [groups] if groups else [], chosen.epoch)
    # To the rule, which breaks ties by epochs, the vote comes after both.
    last = replace(candidate, epoch=chosen.epoch + 1)
    kept = RULES[rule]([identity, *([chosen] if chosen.epoch else []), last], margin) is last
    if kept:
        segmentor.views = tuple(views)
    return Vote(views=tuple(views), candidate=candidate, kept=kept)
