"""How fast a device multiplies large matrices, and how much of that a forward pass is."""

from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.mixed_contest import Ground, time_passes
from medlora.backbones.spec import create_architecture

_N_REPEATS = 5


def measure_matrix_rate(ground: Ground, side: int) -> dict[str, Any]:
    """The rate of a product of square matrices, and the operations of one image.

    Args:
        ground: Gives the network, its type and its device.
        side: Rows and columns of the matrices.

    Returns:
        `operations_per_second`, the median of a few, `side`, and `operations_per_image`.
    """
    matrix = torch.randn(side, side, dtype=ground.dtype, device=ground.device)
    # A row of products on a GPU, so that the clock does not measure the way to it.
    n_passes = 1 if ground.device.type == "cpu" else 10
    time_passes(lambda: matrix @ matrix, 1, ground.setting)
    seconds = [
        time_passes(lambda: matrix @ matrix, n_passes, ground.setting) for _ in range(_N_REPEATS)
    ]
    return {
        "side": side,
        "operations_per_second": 2 * side**3 / median(seconds),
        "operations_per_image": count_operations(
            ground.setting.backbone, ground.backbone.preprocessing.size
        ),
    }


def count_operations(backbone: str, size: tuple[int, int]) -> int:
    """Additions and multiplications of all matrix products in the forward pass of one image.

    Args:
        backbone: timm's model name.
        size: Height and width of the image.
    """
    # On no device at all: nothing is computed, and attention is the products that it consists of.
    with torch.device("meta"):
        network: nn.Module = create_architecture(backbone).eval()
        image = torch.empty(1, 3, *size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    return int(counter.get_total_flops())
