"""The factor between a low-rank product and the weight that it updates."""

import math
from typing import Literal, get_args

from medlora.errors import SettingsError

Scaling = Literal["alpha/rank", "alpha/sqrt(rank)"]


def compute_scale(rank: int, alpha: float, scaling: Scaling = "alpha/rank") -> float:
    """Factor that multiplies `B A x`, in floating point for every alpha and rank.

    Args:
        rank: Rank of the update, at least 1.
        alpha: Strength of the update, above 0; it may be smaller than the rank.
        scaling: `alpha/rank`, or rank-stabilised `alpha/sqrt(rank)`.

    Raises:
        SettingsError: Rank, alpha or scaling is outside its range.

    Reference:
        Hu et al., LoRA, ICLR 2022, section 4.1; Kalajdzievski, A rank stabilization
        scaling factor for fine-tuning with LoRA, 2023.

    Example:
        >>> compute_scale(rank=8, alpha=4)
        0.5
        >>> compute_scale(rank=16, alpha=4, scaling="alpha/sqrt(rank)")
        1.0
    """
    if rank < 1:
        raise SettingsError(f"rank must be at least 1, not {rank}.")
    if not (alpha > 0 and math.isfinite(alpha)):
        raise SettingsError(f"alpha must be a finite number above 0, not {alpha}.")
    if scaling not in get_args(Scaling):
        raise SettingsError(f"scaling must be one of {get_args(Scaling)}, not {scaling!r}.")
    return float(alpha) / rank if scaling == "alpha/rank" else float(alpha) / math.sqrt(rank)
