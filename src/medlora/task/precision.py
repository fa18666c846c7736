"""Which number format a device computes fastest in, and how that is called."""

import time
from functools import cache
from typing import Literal

import torch

from medlora.errors import SettingsError

Precision = Literal["auto", "bf16", "fp32"]

Chosen = Literal["bf16", "fp32"]

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
# Rows and columns of the matrices that a processor multiplies to show what it is good at, and how
# often: some 30 ms in all.
_WIDTH = 512
_N_ROUNDS = 7


def choose_precision(precision: Precision, device: torch.device) -> Chosen:
    """The precision to compute in: what is asked for, or bf16 where the hardware is made for it.

    A processor that has bf16 is asked, once in a process, whether it multiplies matrices faster
    in it: with tile registers it does so several times faster than in float32, but some have the
    instructions alone, or are kept from the tiles by the machine around them, and take twice as
    long.

    Args:
        precision: `bf16` or `fp32` to force one; `auto` to look at the device.
        device: Where the computation runs.

    Raises:
        SettingsError: The precision is none of the three.
    """
    if precision == "auto":
        return "bf16" if _has_bf16(device) else "fp32"
    if precision not in DTYPES:
        raise SettingsError(f"precision must be auto, bf16 or fp32, not {precision!r}.")
    return precision


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # AVX-512 without its bf16 instructions emulates them, slower than fp32.
        has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return bool(has) and _is_faster_in_bf16()
    return False


@cache
def _is_faster_in_bf16() -> bool:
    """Whether this processor multiplies matrices faster in bf16: the best of some rounds each."""
    seconds = {name: float("inf") for name in DTYPES}
    n_threads = torch.get_num_threads()
    # One thread alone: several would wait for one another where the machine has other work.
    torch.set_num_threads(1)
    try:
        for _ in range(_N_ROUNDS):
            for name, dtype in DTYPES.items():
                seconds[name] = min(seconds[name], _time_product(dtype))
    finally:
        torch.set_num_threads(n_threads)
    return seconds["bf16"] < seconds["fp32"]


def _time_product(dtype: torch.dtype) -> float:
    """Seconds of this thread's processor time that a product of two matrices takes."""
    matrix = torch.ones(_WIDTH, _WIDTH, dtype=dtype)
    start = time.thread_time()
    torch.mm(matrix, matrix)
    return time.thread_time() - start
