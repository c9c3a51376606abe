"""A fit is made ready: what cannot be fitted is refused before anything is changed."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from apple_seg.data import UNKNOWN, Cohort, Groups
from apple_seg.errors import ConfigError, FitError, GroupError
from apple_seg.host import PerturbedSegmentor, Pipeline
from apple_seg.perturb.attributes import Attributes
from apple_seg.perturb.methods import MethodSpec
from apple_seg.perturb.record import FitSettings
from apple_seg.perturb.targets import aimed
from apple_seg.perturb.task import FitTask
from apple_seg.replay import ReplaySettings
from apple_seg.views import VIEWS


def prepare_fit(
    pipeline: Pipeline,
    *,
    train: Cohort,
    validation: Cohort,
    groups: Sequence[Groups],
    method: MethodSpec,
    settings: FitSettings,
    replay: ReplaySettings,
    folder: Path | None,
    progress: bool,
) -> FitTask:
    """Return what is to be fitted, with the masks that the method's target asks for.

    Raises:
        FitError: There are fewer cases than a batch, or no masks, or patients that are in both
            cohorts, or the segmentor is detached, disabled, or under `no_grad`.
        GroupError: Cases of one group only, or a group without validation cases.
        ConfigError: The settings ask for what this host's prompts do not allow, or for groups where
            there are none.
    """
    check_state(pipeline.segmentor)
    settings = replace(settings, selection=settings.selection or method.selection)
    _check_drawing(pipeline, settings)
    _check_cohorts(train, validation, method, settings)
    attributes = Attributes.of(train.table, groups, method.numbers)
    if settings.balanced and not attributes.groups:
        raise ConfigError("[fit] balanced draws each group equally often, and there are no groups")
    for one in attributes.groups:
        _check_groups(one, train, validation)
    start = time.perf_counter()
    train, validation = (
        aimed(pipeline, cohort, method.parts.target, settings.views, progress=progress)
        for cohort in (train, validation)
    )
    drawing = time.perf_counter() - start
    return FitTask(
        pipeline, train, validation, attributes, method, settings, replay, folder, progress, drawing
    )


def _check_drawing(pipeline: Pipeline, settings: FitSettings) -> None:
    """Refuse views and prompts that the host's images and prompts do not allow."""
    prompt = pipeline.spec.prompt
    if settings.prompts > 1 and not prompt.from_truth:
        raise ConfigError(
            "[fit] prompts draws several prompts from the true mask; this host's come from "
            + ("columns" if prompt.columns else "nowhere: it has none")
        )
    example = pipeline.segmentor.example
    dimensions = 3 if example is None else len(example.shape) - 2
    if lost := [view for view in settings.views if max(VIEWS[view].axes, default=0) >= dimensions]:
        raise ConfigError(f"images of {dimensions} dimensions have no view {', '.join(lost)}")
    if prompt.columns and settings.views != ("as-is",):
        raise ConfigError(
            "[fit] views mirror or turn the image, and not the prompts in "
            + ", ".join(prompt.columns)
        )


def check_state(segmentor: PerturbedSegmentor) -> None:
    """Refuse a segmentor that cannot be fitted as it is.

    Raises:
        FitError: It is detached, disabled, weakened, or called under `no_grad`.
    """
    segmentor.check_attached()
    if not (segmentor.enabled and segmentor.strength == 1):
        raise FitError("perturbers are fitted enabled and at strength 1; set both first")
    if not torch.is_grad_enabled():
        raise FitError("a fit needs gradients; it was called under no_grad")
    for shape, site in zip(segmentor.shapes, segmentor.sites, strict=True):
        if shape.calls != 1:
            raise FitError(f"{site} fires {shape.calls} times an image; a fit needs once")


def _check_cohorts(
    train: Cohort, validation: Cohort, method: MethodSpec, settings: FitSettings
) -> None:
    if shared := sorted({*train.clusters} & {*validation.clusters}):
        raise FitError(
            f"{len(shared)} patients ({', '.join(map(str, shared[:3]))}, ...) are among the "
            "train and the validation cases; the epoch would be chosen on what was trained on"
        )
    for name, cohort in (("train", train), ("validation", validation)):
        if method.parts.target == "masks" and not cohort.annotated:
            missing = int((cohort.table["mask"] == "").sum())
            raise FitError(
                f"{missing} of {len(cohort)} {name} cases have no mask; "
                'a fit needs masks: leave those cases out, or set [method] target = "consensus"'
            )
    if len(train) < settings.batch_size:
        raise FitError(
            f"{len(train)} cases are fewer than a batch of {settings.batch_size}; "
            "lower [fit] batch_size"
        )


def _check_groups(groups: Groups, train: Cohort, validation: Cohort) -> None:
    counts = count_groups(groups, train)
    if sum(counts[label] > 0 for label in groups.labels) < 2:
        raise GroupError(f"one group only to fit on: {counts}; two are needed")
    empty = [label for label, n in count_groups(groups, validation).items() if not n]
    if lost := [label for label in empty if label in groups.labels]:
        raise GroupError(
            f"no validation case of {', '.join(map(repr, lost))}: the epoch could not be chosen"
        )


def count_groups(groups: Groups, cohort: Cohort) -> dict[str, int]:
    """Return how many cases each group has, and how many are `unknown`."""
    codes: NDArray[np.int64] = groups.codes(cohort.table)
    counts = {label: int((codes == code).sum()) for code, label in enumerate(groups.labels)}
    return {**counts, "unknown": int((codes == UNKNOWN).sum())}
