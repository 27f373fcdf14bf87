"""What the arrays of this package hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pixels = NDArray[np.float32]
Keys = NDArray[np.uint64]
Flags = NDArray[np.bool_]
