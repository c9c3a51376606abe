"""What the perturbed masks are to be like, where it is not the true ones."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from apple_seg.data import VIEWS, Case, Cohort, viewed
from apple_seg.errors import ConfigError
from apple_seg.host import Pipeline
from apple_seg.perturb.objectives import Target

Masks = NDArray[np.bool_]


def aimed(
    pipeline: Pipeline,
    train: Cohort,
    validation: Cohort,
    target: Target,
    views: tuple[str, ...],
    *,
    progress: bool,
) -> tuple[Cohort, Cohort]:
    """Return both cohorts with the masks that the target puts in place of theirs.

    With "consensus", validation cases keep their true masks if every one has one: a few to
    choose the epoch by are worth more than none.

    Raises:
        ConfigError: A consensus is asked for of one view alone.
    """
    if target == "masks":
        return train, validation
    draw: Callable[[Pipeline, Iterable[Case]], Iterator[Masks]] = _own
    if target == "consensus":
        if len(views) < 2:
            raise ConfigError(
                'target = "consensus" is what several views of a case agree on; name more in '
                f"[fit] views ({', '.join(VIEWS)}), got {', '.join(views)}"
            )

        def draw(pipeline: Pipeline, cases: Iterable[Case]) -> Iterator[Masks]:
            return (consensus(pipeline, case, views) for case in cases)

    def masked(cohort: Cohort) -> Cohort:
        bar = tqdm(cohort, "masks of the host", disable=not progress, leave=False)
        with pipeline.segmentor.disabled():
            return cohort.with_masks(draw(pipeline, bar))

    keep = target == "consensus" and validation.annotated
    return masked(train), validation if keep else masked(validation)


def _own(pipeline: Pipeline, cases: Iterable[Case]) -> Iterator[Masks]:
    return (pipeline([case])[0] for case in cases)


def consensus(pipeline: Pipeline, case: Case, views: tuple[str, ...]) -> Masks:
    """Return what most views of a case agree on, (K, *spatial).

    A mask is drawn in each view and brought back; a pixel is inside where more than half of them
    say so, and where they are even, if the mask of the case as it is says so. A segmentor is seldom
    the same in mirrors; where its views part, the majority is mostly nearer to the truth than any
    one of them, as averaging at test time has long shown.
    """
    own, *drawn = pipeline([case, *(viewed(case, view) for view in views)])
    back = [VIEWS[view].undo(mask) for view, mask in zip(views, drawn, strict=True)]
    votes = 2 * np.sum(back, axis=0, dtype=np.int16)
    found: Masks = (votes > len(views)) | ((votes == len(views)) & own)
    return found
