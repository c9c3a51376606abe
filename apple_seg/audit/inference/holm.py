"""p-values of several attributes, corrected for their number."""

from collections.abc import Mapping

import numpy as np


def holm(p_values: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the permutation p-values after Holm's step-down correction over all differences.

    The smallest of m is multiplied by m, the next by m - 1, and none is below the one before (Holm
    1979, Scand. J. Stat. 6:65). NaN values stay, and do not count.

    Args:
        p_values: Attribute to group to p-value, of the same cases.

    Returns:
        Attribute to group to corrected p-value.
    """
    raw = [(name, label, p) for name, each in p_values.items() for label, p in each.items()]
    known = sorted((entry for entry in raw if np.isfinite(entry[2])), key=lambda entry: entry[2])
    result = {name: dict.fromkeys(each, float("nan")) for name, each in p_values.items()}
    floor = 0.0
    for rank, (attribute, label, p) in enumerate(known):
        floor = max(floor, min(1.0, (len(known) - rank) * p))
        result[attribute][label] = floor
    return result
