"""Which weights a backbone has, as one short number."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

# A count of training steps that no output depends on; some checkpoints leave it out.
COUNTER = "num_batches_tracked"


def compute_fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, shapes, types and bytes of a model's tensors.

    Floating-point tensors count as float32, little-endian, in the order of their names, so
    a checkpoint gives the same number on every machine, on every device and whichever of
    half and full precision held the same values in its file.

    Args:
        state: Name to tensor, as `state_dict()` gives it for a model in full precision.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        if name.rpartition(".")[2] == COUNTER:
            continue
        tensor = state[name].detach().cpu().contiguous()
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float32)
        array = tensor.numpy()
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}\0{array.dtype.name}\0{tuple(array.shape)}\0".encode())
        digest.update(array.reshape(-1).view("uint8").data)
    return digest.hexdigest()
