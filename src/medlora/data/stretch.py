"""Values of more than 8 bits on the 256 grey levels of a picture."""

from typing import Any

import numpy as np
import numpy.typing as npt


def stretch_to_uint8(
    values: npt.NDArray[Any], left_out: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.uint8]:
    """Map the smallest value to 0 and the largest to 255, linearly.

    Truth values become 0 and 255. An image of one single value becomes black. NaN and infinity
    are left out of the range and drawn black.

    Args:
        values: Numbers of any real type, or truth values, any shape.
        left_out: True where a value must not count for the range, for example padding; same
            shape as `values`. Such values are clipped to 0..255.

    Returns:
        The grey levels, rounded, same shape.

    Raises:
        ValueError: The values are not real numbers, or none of them is finite.

    Example:
        >>> stretch_to_uint8(np.array([-1000, 0, 1000]))
        array([  0, 128, 255], dtype=uint8)
    """
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "iuf":
        raise ValueError(f"pixel values of type {values.dtype} are not real numbers")
    finite = np.isfinite(values)
    counted = finite if left_out is None else finite & ~left_out
    if not counted.any():
        # An image that is all padding has no range of its own, but is not damaged.
        counted = finite
    if not counted.any():
        raise ValueError("no pixel value is a finite number")
    exact = values.astype(np.float64)
    low, high = exact[counted].min(), exact[counted].max()
    if low == high:
        return np.zeros(values.shape, dtype=np.uint8)
    shares = np.clip((np.where(finite, exact, low) - low) / (high - low), 0, 1)
    return np.asarray(np.rint(shares * 255), dtype=np.uint8)
