"""Which number format a device computes fastest in, and how that is called."""

from typing import Literal

import torch

from medlora.errors import SettingsError

Precision = Literal["auto", "bf16", "fp32"]

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def choose_precision(precision: Precision, device: torch.device) -> Literal["bf16", "fp32"]:
    """The precision to compute in: what is asked for, or bf16 where the hardware has it.

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
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False
