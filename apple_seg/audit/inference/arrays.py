"""The arrays that all of the inference is done on."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
"""Finite where nothing else is said."""
