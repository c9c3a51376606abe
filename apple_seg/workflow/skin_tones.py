"""What `apple-seg skin-tone` does."""

import pandas as pd

from apple_seg.config import Experiment
from apple_seg.data.cohort import CLUSTER, KEY, MASK, SPLIT
from apple_seg.files import write_text
from apple_seg.measure import ITA_COLUMN, with_ita
from apple_seg.workflow.running import SKIN_TONES, Written


def estimate_skin_tone(
    experiment: Experiment, *, maximum: float = 255.0, progress: bool = True
) -> Written:
    """Estimate every annotated case's skin tone, and write the manifest with that column.

    Args:
        experiment: Its cohort is read, whatever the split; cases without a mask get no estimate.
        maximum: What white is in the image files.
        progress: Whether to show a progress bar.
    """
    cohort = experiment.cohort.read()
    known = cohort.take(cohort.table.index[cohort.table[MASK] != ""].to_numpy())
    found = with_ita(known, maximum=maximum, progress=progress).table[ITA_COLUMN]
    declared = experiment.cohort
    own = {declared.image, declared.mask, declared.cluster, declared.split}
    added = [role for role in (KEY, CLUSTER, MASK, SPLIT) if role not in own]
    table = cohort.table.drop(columns=added).assign(**{ITA_COLUMN: found.round(1)})
    path = experiment.output / SKIN_TONES
    write_text(path, table.to_csv(index=False))
    return Written(_say_tones(table[ITA_COLUMN]), (path,))


def _say_tones(values: "pd.Series[float]") -> str:
    """Say how the estimates lie, and how many cannot be skin's."""
    low, middle, high = values.quantile([0.05, 0.5, 0.95])
    blue = int((values > 90).sum())
    said = (
        f"{int(values.notna().sum())} of {len(values)} cases have an estimate: median "
        f"{middle:.0f} degrees, from {low:.0f} to {high:.0f} for nine in ten."
    )
    return said + (
        f" {blue} lie above 90, which skin does not: the white balance of these images is off, and "
        "their order may be that of cameras and not of skins."
        if blue
        else ""
    )
