"""Mirrors and turns of an image: the views that a patient could be seen in."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class View(NamedTuple):
    """Which spatial axes (H, W, D) are exchanged, and then which are reversed."""

    reversed: tuple[int, ...] = ()
    transposed: bool = False
    """Whether height and width are exchanged first."""

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that it is about."""
        return tuple({*self.reversed, *((0, 1) if self.transposed else ())})

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array (channels, *spatial) in this view, in its own memory."""
        turned = array.swapaxes(1, 2) if self.transposed else array
        return np.array(np.flip(turned, self._places), order="C")

    def undo(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return what has this view, in its own memory."""
        back = np.flip(array, self._places)
        return np.array(back.swapaxes(1, 2) if self.transposed else back, order="C")

    @property
    def _places(self) -> tuple[int, ...]:
        return tuple(axis + 1 for axis in self.reversed)


VIEWS: Mapping[str, View] = {
    "as-is": View(),
    "flip-h": View((0,)),
    "flip-w": View((1,)),
    "flip-hw": View((0, 1)),
    "flip-d": View((2,)),
    "turn-90": View((0,), transposed=True),
    "turn-270": View((1,), transposed=True),
    "transpose": View(transposed=True),
    "antitranspose": View((0, 1), transposed=True),
}
"""The views that settings may name. `flip-hw` is half a turn, and `turn-90` goes from the first
column to the first row, as `numpy.rot90` does: the plane's eight are all but `flip-d`."""

AS_IS = ("as-is",)
"""No other view than the image as it comes."""
