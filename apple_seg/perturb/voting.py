"""Whether a segmentor answers by the vote of several views: validation is asked at the end."""

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from tqdm import tqdm

from apple_seg.data import Cohort, Groups
from apple_seg.host import Pipeline
from apple_seg.measure import score
from apple_seg.perturb.record import FitResult, FitSettings
from apple_seg.perturb.selection import Candidate, Vote, allowed, best_of, better
from apple_seg.perturb.task import FitTask
from apple_seg.perturb.validation import candidate_of
from apple_seg.processes import ONE, Processes

Untouched = Callable[[], AbstractContextManager[object]]
"""Makes a segmentor the host as deployed, for as long as the context is open."""


def voted(
    task: FitTask, result: FitResult, untouched: Untouched, processes: Processes = ONE
) -> FitResult:
    """Return what a fit did, with the vote where its method asks for one and it can be had.

    A host with prompts has none, and without masks of their own validation cases cannot tell: what
    stands in for them is such a vote itself. Where the vote of the untouched host is kept, the
    result has selected the identity, which the caller has to install.
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
        untouched=untouched,
        processes=processes,
        progress=task.progress and processes.main,
    )
    seconds = result.seconds + time.perf_counter() - start
    selected = result.candidates[vote.candidate.epoch] if vote.kept else result.selected
    return replace(result, selected=selected, vote=vote, seconds=seconds)


def put_to_vote(
    pipeline: Pipeline,
    validation: Cohort,
    *,
    groups: Groups | None,
    settings: FitSettings,
    identity: Candidate,
    chosen: Candidate,
    untouched: Untouched,
    processes: Processes = ONE,
    progress: bool = True,
) -> Vote:
    """Let the segmentor answer by the vote of several views, if validation prefers that.

    It does where the group served worst gains by it, or all together do and that group as much, and
    no group has lost more than the margin from the host as deployed, which answers in one view:
    whatever rule kept the epoch, more passes are for more Dice. Where the rule is for Dice too, the
    vote of the untouched host is a candidate: what was fitted has to be better than that.

    Args:
        pipeline: With the perturbers that were kept; its segmentor's `views` are set, or left.
        validation: The cases that the epoch was chosen on.
        groups: What the epoch was chosen by, if anything.
        settings: Two or more views that patients could be seen in, how much no group may lose,
            and how many cases are in memory at once.
        identity: What validation said of the host's answers of one view.
        chosen: And of those of the epoch that was kept.
        untouched: As which the host votes without what was fitted.
        processes: Those that share the cases.
        progress: Whether to show a bar.

    Raises:
        ConfigError: The host's prompts do not turn with the image.
    """

    def ask(epoch: int) -> Candidate:
        whose = "untouched host's vote" if epoch == 0 else "vote"
        table = score(
            lambda cases: pipeline.vote(cases, settings.views),
            validation,
            metrics=("dice",),
            batch_size=settings.batch_size,
            progress=progress,
            description=f"validation, by the {whose} of {len(settings.views)} views",
            processes=processes,
        )
        return candidate_of(table, validation, [groups] if groups else [], epoch)

    with untouched():
        bare = ask(0)
    fitted = ask(chosen.epoch) if chosen.epoch else bare
    # What is kept for what Dice does not show is not given up for Dice.
    asked = (fitted,) if settings.selection == "latest" else (bare, fitted)
    possible = [one for one in asked if allowed(one, identity, settings.margin)]
    best = best_of(possible or [fitted])
    kept = best in possible and better(best, chosen)
    if kept:
        pipeline.segmentor.views = settings.views
    return Vote(views=settings.views, fitted=fitted, untouched=bare, candidate=best, kept=kept)
