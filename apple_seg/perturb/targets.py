"""What the perturbed masks are to be like, where it is not the true ones."""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from apple_seg.data import Case, Cohort
from apple_seg.errors import ConfigError
from apple_seg.host import Pipeline
from apple_seg.perturb.objectives import Target
from apple_seg.views import VIEWS

Masks = NDArray[np.bool_]


def aimed(
    pipeline: Pipeline,
    cohort: Cohort,
    target: Target,
    views: tuple[str, ...],
    *,
    progress: bool,
) -> Cohort:
    """Return a cohort with the masks that the target puts in place of what it has.

    "host": the host's own. "consensus": the mean of the host's views, for cases without a mask;
    true masks stay, so that a few to choose the epoch by, or to fit on as well, are made use of.

    Raises:
        ConfigError: A consensus is asked for of one view alone, or of prompts from true masks.
    """
    if target == "masks" or (target == "consensus" and cohort.annotated):
        return cohort
    if target == "consensus":
        _check_views(pipeline, cohort, views)
    draw = partial(_own, pipeline) if target == "host" else partial(_agreed, pipeline, views)
    bar = tqdm(cohort, "masks of the host", disable=not progress, leave=False)
    with pipeline.segmentor.disabled():
        return cohort.with_masks(draw(case) for case in bar)


def _check_views(pipeline: Pipeline, cohort: Cohort, views: tuple[str, ...]) -> None:
    bare = f"{(cohort.table['mask'] == '').sum()} of {len(cohort)} cases have no mask"
    if len(views) < 2:
        raise ConfigError(
            f'{bare}, and with target = "consensus" the mean of several views of a case stands '
            f"in for it: add masks, or name more views in [fit] views ({', '.join(VIEWS)}); got "
            + ", ".join(views)
        )
    if pipeline.spec.prompt.from_truth:
        raise ConfigError(
            f"{bare}, and this host's prompts are drawn from it: add masks, or name the prompts' "
            "columns in [host.prompt]"
        )


def _own(pipeline: Pipeline, case: Case) -> Masks:
    return pipeline([case])[0]


def _agreed(pipeline: Pipeline, views: tuple[str, ...], case: Case) -> Masks:
    return pipeline.vote([case], views)[0] if case.mask is None else case.mask
