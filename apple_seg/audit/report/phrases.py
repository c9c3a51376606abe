"""Phrases that a report says numbers in, for readers who are no statisticians."""

from apple_seg.audit.inference.intervals import Estimate
from apple_seg.audit.report.reading import Result, host_of
from apple_seg.audit.tables import Form, form_of

GLOSSES = {
    "dice": "the overlap of the predicted with the drawn mask, from 0 (none) to 1 (the same)",
    "iou": "the area that predicted and drawn mask share, as a part of the area that either covers "
    "(from 0 to 1)",
    "nsd": "the normalised surface Dice: the part of both masks' surfaces that lies within a "
    "tolerance of the other mask's surface (from 0 to 1)",
    "hd95": "the distance between the masks' surfaces that 95 % of surface points stay below",
    "assd": "the average distance between the masks' surfaces",
    "volume_error": "by how much the predicted mask is larger than the drawn one, as a part of the "
    "latter",
    "truth_size": "pixels or voxels of the drawn mask",
    "predicted_size": "pixels or voxels of the predicted mask",
}
"""What a metric is, for whoever never heard of it."""


def quoted(label: str) -> str:
    """Return a group's name so that it is told from the sentence."""
    return f"“{label}”"


def enumerate_words(words: list[str]) -> str:
    """Return `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def confidence(result: Result) -> str:
    """Return the confidence of all intervals, such as `95 %`."""
    return f"{100 * result.settings.confidence:.4g} %"


def with_interval(found: Estimate, form: Form) -> str:
    """Return `+0.041 (interval +0.032 to +0.050)`."""
    if not found.known:
        return f"{form.number(found.value)} (too few cases for an interval)"
    return (
        f"{form.number(found.value)} (interval {form.number(found.low)} to "
        f"{form.number(found.high)})"
    )


def level(result: Result, label: str) -> str:
    """Return a group's mean under the host, such as `0.912 in “age < 60”`."""
    form = form_of(result.settings.metric)
    return f"{form.number(host_of(result).by_group[label].value)} in {quoted(label)}"
