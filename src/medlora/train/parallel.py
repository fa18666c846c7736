"""What the processes of one run tell each other."""

from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor


def gather(fabric: Fabric, tensor: Tensor) -> Tensor:
    """The tensor of every process, (process, ...); all processes have to ask."""
    if fabric.world_size == 1:
        return tensor.unsqueeze(0)
    return cast(Tensor, fabric.all_gather(tensor.to(fabric.device))).cpu()


def agree(fabric: Fabric, wish: bool) -> bool:
    """Whether any of the processes has the wish: they have to stop at the same step."""
    return bool(gather(fabric, torch.tensor(float(wish))).any())


def average(fabric: Fabric, value: float) -> float:
    """The mean over the processes, the same in all of them."""
    return float(gather(fabric, torch.tensor(value, dtype=torch.float64)).mean())


def share_rows(fabric: Fabric, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """This process's part of some rows; all parts are of one length, by repeating rows."""
    n_own = -(-len(rows) // fabric.world_size)
    return np.resize(rows, n_own * fabric.world_size)[fabric.global_rank :: fabric.world_size]


def join_answers(
    fabric: Fabric, own: npt.NDArray[np.float64], n_rows: int
) -> npt.NDArray[np.float64]:
    """Every process's answers to its `share_rows`, in the order of the rows again.

    Args:
        fabric: The processes.
        own: (own row, class) answers of this process.
        n_rows: How many rows were shared out.

    Returns:
        (row, class).
    """
    gathered = gather(fabric, torch.from_numpy(own))
    joined = gathered.transpose(0, 1).reshape(-1, own.shape[1])
    return np.asarray(joined.numpy()[:n_rows])
