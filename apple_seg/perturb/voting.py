"""Whether a segmentor answers by the vote of several views: validation is asked at the end."""

import sys
import time
from dataclasses import replace

from tqdm import tqdm

from apple_seg.data import Cohort, Groups
from apple_seg.host import Pipeline
from apple_seg.measure import score
from apple_seg.perturb.record import FitResult, FitSettings
from apple_seg.perturb.selection import Candidate, Vote, allowed, better
from apple_seg.perturb.task import FitTask
from apple_seg.perturb.validation import candidate_of
from apple_seg.processes import ONE, Processes


def voted(task: FitTask, result: FitResult, processes: Processes = ONE) -> FitResult:
    """Return what a fit did, with the vote where its method asks for one and it can be had.

    A host with prompts has none, and without masks of their own validation cases cannot tell: what
    stands in for them is such a vote itself.
    """
    if not task.method.parts.vote:
        return result
    bare = not (task.validation.table["mask"] != "").all()
    prompted = task.pipeline.spec.prompt.kind != "none"
    why = ""
    if len(task.settings.views) < 2:
        why = "[fit] views names one; name those that a patient could be seen in"
    elif prompted:
        why = "the host has prompts"
    elif bare or task.method.parts.target == "host":
        why = "validation has no true masks to judge it by"
    if why:
        if task.progress and processes.main:
            tqdm.write(f"answers are of one view, not of a vote: {why}", file=sys.stderr)
        return result
    start = time.perf_counter()
    vote = put_to_vote(
        task.pipeline,
        task.validation,
        groups=task.attributes.first,
        settings=task.settings,
        identity=result.candidates[0],
        chosen=result.selected,
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
    settings: FitSettings,
    identity: Candidate,
    chosen: Candidate,
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
        settings: Two or more views that patients could be seen in, how much no group may lose,
            and how many cases are in memory at once.
        identity: What validation said of the host's answers of one view.
        chosen: And of those of the epoch that was kept.
        processes: Those that share the cases.
        progress: Whether to show a bar.

    Raises:
        ConfigError: The host's prompts do not turn with the image.
    """
    segmentor = pipeline.segmentor
    before, segmentor.views = segmentor.views, settings.views
    try:
        table = score(
            pipeline,
            validation,
            metrics=("dice",),
            batch_size=settings.batch_size,
            progress=progress,
            description=f"validation, by the vote of {len(settings.views)} views",
            processes=processes,
        )
    finally:
        segmentor.views = before
    candidate = candidate_of(table, validation, [groups] if groups else [], chosen.epoch)
    kept = better(candidate, chosen) and allowed(candidate, identity, settings.margin)
    if kept:
        segmentor.views = settings.views
    return Vote(views=settings.views, candidate=candidate, kept=kept)
