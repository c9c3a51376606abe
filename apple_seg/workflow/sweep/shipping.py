"""The chosen perturber to where `compare` finds it, and nothing there that was not chosen."""

from pathlib import Path

import torch

from apple_seg.errors import ArtifactError
from apple_seg.files import write_bytes
from apple_seg.ship import read_artifact
from apple_seg.workflow.running import EARLIER, FIT, PERTURBER, flattered, looks_of


def ship(chosen: Path | None, output: Path) -> tuple[str, ...]:
    """Copy a fit's results to the output folder; where none was chosen, set an earlier one aside.

    A file that holds the very fit already stays as it is: it may know of comparisons.

    Args:
        chosen: The folder of the fit; None for the identity.
        output: Where to.

    Returns:
        What must be known of a file that was there, in sentences.
    """
    target = output / PERTURBER
    looks, same = _found(target, chosen)
    if chosen is None:
        if not target.is_file():
            return ()
        target.replace(output / EARLIER)
        return (f"{target} is of a fit that this sweep did not choose: it is now {EARLIER}.",)
    if not same:
        if target.is_file():
            target.replace(output / EARLIER)
        write_bytes(target, (chosen / PERTURBER).read_bytes())
        write_bytes(output / FIT, (chosen / FIT).read_bytes())
    return flattered("This very file" if same else "The file that was here before", looks)


def _found(target: Path, chosen: Path | None) -> tuple[int, bool]:
    """Return how often the file that is there was compared, and whether it is of the same fit."""
    try:
        artifact, tensors = read_artifact(target)
    except ArtifactError:
        return 0, False
    looks = looks_of(target)
    if chosen is None:
        return looks, False
    other, others = read_artifact(chosen / PERTURBER)
    weights, theirs = (
        {n: v for n, v in every.items() if n.startswith("perturbers.")}
        for every in (tensors, others)
    )
    same = (
        artifact.record.get("fit") == other.record["fit"]
        and weights.keys() == theirs.keys()
        and all(torch.equal(value, theirs[name]) for name, value in weights.items())
    )
    return looks, same
