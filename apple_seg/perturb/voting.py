"""Whether a segmentor answers by the vote of several views: validation is asked at the end."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from tqdm import tqdm

from apple_seg.data import Cohort, Groups
from apple_seg.host import Pipeline
from apple_seg.measure import score
from apple_seg.perturb.record import FitResult
from apple_seg.perturb.selection import Candidate, Vote, allowed, better
from apple_seg.perturb.task import FitTask
from apple_seg.perturb.validation import candidate_of
from apple_seg.processes import ONE, Processes


def voted(task: FitTask, result: FitResult, processes: Processes = ONE) -> FitResult:
    """Return what a fit did, with the vote where its method asks for one and it can be had.

    A host with prompts has none, and without masks of their own validation cases cannot tell: what
    stands in for them is such a vote itself.
    """
    if not task.method.parts.vote or len(task.settings.views) < 2:
        return result
    bare = not (task.validation.table["mask"] != "").all()
    prompted = task.pipeline.spec.prompt.kind != "none"
    if bare or prompted or task.method.parts.target == "host":
        if task.progress and processes.main:
            why = (
                "the host has prompts" if prompted else "validation cases lack masks to judge it by"
            )
            tqdm.write(f"answers are of one view, not of a vote: {why}", file=sys.stderr)
        return result
    start = time.perf_counter()
    vote = put_to_vote(
        task.pipeline,
        task.validation,
        groups=task.attributes.first,
        views=task.settings.views,
        margin=task.settings.margin,
        identity=result.candidates[0],
        chosen=result.selected,
        batch_size=task.settings.batch_size,
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
    margin: float,
    identity: Candidate,
    chosen: Candidate,
    batch_size: int = 16,
    processes: Processes = ONE,
    progress: bool = True,
) -> Vote:
    """Let the segmentor answer by the vote of several views, if validation prefers that.

    It does where the group served worst gains by it, or all together do and that group as much, and
    no group has lost more than the margin from the host as deployed, which answers in one view:
    whatever rule kept the epoch, more passes are for more Dice.

    Args:
        pipeline: With the perturbers that were kept; its segmentor's `views` are set, or left.
        validation: The cases that the epoch was chosen on.
        groups: What the epoch was chosen by, if anything.
        views: That patients could be seen in, two or more.
        margin: How much no group may lose.
        identity: What validation said of the host's answers of one view.
        chosen: And of those of the epoch that was kept.
        batch_size: Cases in memory at once.
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
            batch_size=batch_size,
            progress=progress,
            description=f"validation, by the vote of {len(views)} views",
            processes=processes,
        )
    finally:
        segmentor.views = before
    candidate = candidate_of(table, validation, [groups] if groups else [], chosen.epoch)
    kept = better(candidate, chosen) and allowed(candidate, identity, margin)
    if kept:
        segmentor.views = tuple(views)
    return Vote(views=tuple(views), candidate=candidate, kept=kept)
