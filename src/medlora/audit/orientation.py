"""The eight ways in which a picture can lie: turned by quarters, mirrored or not."""

from typing import Any, Final

import numpy.typing as npt

N_ORIENTATIONS: Final = 8
ORIENTATION_NAMES: Final = (
    "",
    "mirrored left to right",
    "mirrored top to bottom",
    "turned by 180 degrees",
    "mirrored along the diagonal",
    "turned by 90 degrees to the right",
    "turned by 90 degrees to the left",
    "mirrored along the other diagonal",
)
"""What has been done to a picture that lies in each of them; nothing in the first."""


def orient(pictures: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Square pictures in one of the eight orientations.

    Args:
        pictures: (..., side, side).
        orientation: 0 to 7: its bit 4 exchanges rows and columns, then bit 1 mirrors left to
            right and bit 2 top to bottom.

    Example:
        >>> import numpy as np
        >>> orient(np.array([[1, 2], [3, 4]]), 5).tolist()
        [[3, 1], [4, 2]]
    """
    turned = pictures.swapaxes(-1, -2) if orientation & 4 else pictures
    if orientation & 1:
        turned = turned[..., ::-1]
    if orientation & 2:
        turned = turned[..., ::-1, :]
    return turned
