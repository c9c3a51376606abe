"""Slices to the volumes that they are part of, which are scored as one."""

from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apple_seg.data.cohort import CLUSTER, KEY, MASK, SPLIT
from apple_seg.errors import CaseError
from apple_seg.names import meant


class Subject(NamedTuple):
    """What is scored at once: a case, or a volume of slices."""

    key: str
    cluster: str
    spacing: tuple[float, ...] | None
    """Millimetres a voxel; None counts in voxels."""

    truth: NDArray[np.bool_]
    """(K, *spatial)."""

    predicted: NDArray[np.bool_]
    """(K, *spatial)."""


class Slices(NamedTuple):
    """The cases that make up a volume."""

    volume: str
    rows: list[int]
    """Their positions in the cohort, in its order."""

    thickness: float | None
    """Millimetres from one slice to the next; None where distances are to be in voxels."""


def gathered_table(
    table: pd.DataFrame, column: str, attributes: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the table of the volumes whose slices a table of cases holds.

    Args:
        table: A row a slice, as `Cohort.table`.
        column: Says of which volume a slice is.
        attributes: Columns that must be the same for all slices of a volume, such as those that
            groups are made by; cluster and split must be, too.

    Returns:
        A row a volume, in the order of their first slices and labelled as these are: `case` is the
        value of `column`; then the columns that are the same within every volume.

    Raises:
        CaseError: A column is missing, a slice is of no volume, or an attribute, a cluster or a
            split differs within a volume.
    """
    names = _volumes(table, column)
    required = dict.fromkeys((CLUSTER, SPLIT, *attributes))
    if missing := [name for name in required if name not in table]:
        raise CaseError(
            f"no column {missing[0]!r}{meant(missing[0], table.columns)}; the columns are: "
            + _listed(table.columns)
        )
    varies = table.groupby(names.to_numpy(), sort=False).nunique(dropna=False) > 1
    for name in required:
        if len(torn := varies.index[varies[name]]):
            found = table.loc[(names == torn[0]).to_numpy(), name].unique()
            more = f", and so do those of {len(torn) - 1} more" if len(torn) > 1 else ""
            raise CaseError(
                f"{column} {torn[0]}: its slices differ in {name!r} ({_listed(found)}){more}; a "
                f"volume has one {name}: mend the table, or gather by another column"
            )
    same = [name for name in table if name not in (KEY, MASK) and not varies[name].any()]
    first = ~names.duplicated()
    volumes = table.loc[first, same].copy()
    volumes.insert(0, KEY, names[first])
    return volumes


def volumes_of(table: pd.DataFrame, column: str, thickness: str | None) -> list[Slices]:
    """Return the slices of each volume, in the order of the table.

    Args:
        table: A row a slice.
        column: Says of which volume a slice is.
        thickness: Column with the millimetres between slices; None to count in voxels.

    Raises:
        CaseError: See `gathered_table`; or a thickness is no positive number.
    """
    volumes = gathered_table(table, column, [] if thickness is None else [thickness])
    places: dict[str, list[int]] = {name: [] for name in volumes[KEY]}
    for place, name in enumerate(_volumes(table, column)):
        places[name].append(place)
    depths = [None] * len(volumes) if thickness is None else volumes[thickness]
    return [
        Slices(name, rows, None if depth is None else _millimetres(depth, f"{column} {name}"))
        for (name, rows), depth in zip(places.items(), depths, strict=True)
    ]


def stack(slices: Slices, subjects: Sequence[Subject]) -> Subject:
    """Return the volume of scored slices (K, H, W): (K, H, W, D), in their order.

    Raises:
        CaseError: Slices differ in shape, are volumes already, or have no spacing of their own or
            several where distances are to be in millimetres.
    """
    first = subjects[0]
    if first.truth.ndim != 3:
        raise CaseError(
            f"{first.key}: has {first.truth.ndim - 1} spatial axes, and what is gathered to "
            f"{slices.volume} must be slices of two; leave gather out"
        )
    for each in subjects:
        if each.truth.shape != first.truth.shape:
            raise CaseError(
                f"{slices.volume}: the slice {each.key} is {each.truth.shape[1:]}, {first.key} "
                f"is {first.truth.shape[1:]}; slices of a volume have one shape"
            )
        if slices.thickness is not None and (
            each.spacing is None or not np.allclose(each.spacing, first.spacing or 0.0, 0.02)
        ):
            raise CaseError(
                f"{slices.volume}: the spacing within the slice {each.key} is {each.spacing}, of "
                f"{first.key} {first.spacing}; a volume in millimetres needs one that its files "
                "say, or leave the thickness out to count in voxels"
            )
    within = None if slices.thickness is None or first.spacing is None else first.spacing
    return Subject(
        slices.volume,
        first.cluster,
        None if within is None or slices.thickness is None else (*within, slices.thickness),
        np.stack([each.truth for each in subjects], axis=-1),
        np.stack([each.predicted for each in subjects], axis=-1),
    )


def _volumes(table: pd.DataFrame, column: str) -> pd.Series:
    """Return the volume that each row is of."""
    if column not in table:
        raise CaseError(
            f"no column {column!r} to gather slices by{meant(column, table.columns)}; the columns "
            f"are: {_listed(table.columns)}"
        )
    names = table[column].astype("string").fillna("").str.strip()
    if len(bare := table.loc[names == "", KEY]):
        raise CaseError(
            f"{bare.iloc[0]}: has no {column}, as {len(bare)} of {len(table)} cases; say of which "
            "volume each slice is, or leave those out"
        )
    return names


def _millimetres(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not (isfinite(number) and number > 0):
        raise CaseError(f"{name}: the thickness of its slices is {value!r}, not millimetres")
    return number


def _listed(values: Any) -> str:
    return ", ".join(map(str, values))
