"""Public sets as others prepare them: the manifest that reads each where it lies."""

from collections.abc import Mapping
from pathlib import Path

from apple_seg.data.manifest import Manifest


def fairmedfm_manifest(
    root: Path | str, *, classes: Mapping[str, int], cluster: str | None = None
) -> Manifest:
    """Return the manifest of a segmentation set as FairMedFM prepares it.

    Such a set is a folder with `metadata.csv` (`index`, `imagePath`, `labelPath`, `sexBinary`,
    mostly `age`, and what else is known) beside the images and masks that it lists. It names no
    patient and no split: without `cluster` each case is a cluster of its own, slices of one volume
    too, so that intervals may be too narrow; and all cases are in the split `test`.

    Group by `sex` where there is such a column: FairMedFM's `sexBinary` says `M` wherever the sex
    is not female, and so where it is not known.

    Source: FairMedFM (Jin et al. 2024, arXiv 2407.00983), `pre-processing/segmentation`.

    Args:
        root: The folder, zip, or folder inside a zip, that holds `metadata.csv`.
        classes: Class name to its value in the mask files, 1 or more.
        cluster: A column that says which cases share a patient, where somebody added one.
    """
    return Manifest(
        root=root,
        manifest="metadata.csv",
        classes=classes,
        image="imagePath",
        mask="labelPath",
        cluster=cluster,
        split=None,
    )
