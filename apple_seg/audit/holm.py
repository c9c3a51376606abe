"""p-values of several attributes, corrected for their number."""

from collections.abc import Sequence

import numpy as np

from apple_seg.audit.results import Audit


def holm(audits: Sequence[Audit]) -> dict[str, dict[str, float]]:
    """Return the permutation p-values after Holm's step-down correction over all differences.

    The smallest of m is multiplied by m, the next by m - 1, and none is below the one before (Holm
    1979, Scand. J. Stat. 6:65). NaN values stay, and do not count.

    Args:
        audits: Of the same cases by several attributes.

    Returns:
        Attribute to group to corrected p-value.
    """
    raw = [(one.attribute, label, p) for one in audits for label, p in one.p_values.items()]
    known = sorted((entry for entry in raw if np.isfinite(entry[2])), key=lambda entry: entry[2])
    result = {one.attribute: dict.fromkeys(one.p_values, float("nan")) for one in audits}
    floor = 0.0
    for rank, (attribute, label, p) in enumerate(known):
        floor = max(floor, min(1.0, (len(known) - rank) * p))
        result[attribute][label] = floor
    return result
