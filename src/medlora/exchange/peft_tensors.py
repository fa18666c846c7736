"""PEFT's `adapter_model.safetensors`: its names for updates and for modules that are kept whole."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor

from medlora.errors import TaskFileError
from medlora.exchange.updates import LayerUpdate
from medlora.lora.linear import Pair
from medlora.task.strict_json import show_value

WEIGHTS_FILE = "adapter_model.safetensors"

_PREFIX = "base_model.model."
_PATH = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*"
_MATRIX = re.compile(rf"(?P<path>{_PATH})\.lora_(?P<kind>[AB])\.weight")
_MAX_NAME_LENGTH = 200
_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@dataclass(frozen=True, eq=False)
class PeftTensors:
    """What the file holds.

    Attributes:
        pairs: Layer name to its A and B.
        saved: Tensors of modules that are kept whole, by their names in the model.
    """

    pairs: dict[str, Pair]
    saved: dict[str, Tensor]


def pack_tensors(updates: Mapping[str, LayerUpdate], saved: Mapping[str, Tensor]) -> bytes:
    """The content of the file; the same tensors give the same bytes.

    Args:
        updates: Layer name to its update; the factor has its place in the configuration.
        saved: Tensors of modules that are kept whole, by their names in the model.
    """
    named = {f"{_PREFIX}{name}": tensor for name, tensor in saved.items()}
    for path, update in updates.items():
        named[f"{_PREFIX}{path}.lora_A.weight"] = update.down
        named[f"{_PREFIX}{path}.lora_B.weight"] = update.up
    # One copy of each: the library refuses tensors that share memory.
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in named.items()}
    return save(plain, {"format": "pt"})


def unpack_tensors(content: bytes, place: str) -> PeftTensors:
    """Read the file; float64 becomes float32, other types stay.

    Args:
        content: The file.
        place: Its name, for errors.

    Raises:
        TaskFileError: It is damaged, holds something else than As, Bs and whole modules, or
            a number is NaN or infinite.
    """
    try:
        tensors = load(content)
    except Exception as error:  # a damaged file makes the library raise errors of many kinds
        raise TaskFileError(
            f"{place} is not a whole safetensors file ({type(error).__name__}). It was cut short "
            "or damaged; copy it again from where it was saved."
        ) from error
    halves: dict[str, dict[str, Tensor]] = {}
    saved: dict[str, Tensor] = {}
    # The library gives them in an order that changes from call to call.
    for key, tensor in sorted(tensors.items()):
        name = key.removeprefix(_PREFIX)
        if len(name) > _MAX_NAME_LENGTH or not re.fullmatch(_PATH, name):
            raise TaskFileError(
                f"{place}: {show_value(key)} is no name of a tensor of a timm model. Import an "
                "adapter that PEFT saved."
            )
        matrix = _MATRIX.fullmatch(name)
        if matrix:
            _check_numbers(name, tensor, place)
            plain = tensor.float() if tensor.dtype == torch.float64 else tensor
            halves.setdefault(matrix["path"], {})[matrix["kind"]] = plain
        elif ".lora_" in name:
            raise TaskFileError(
                f"{place}: the tensor {show_value(key)} belongs to a kind of LoRA that is more "
                "than one A and one B for a layer; it cannot be imported."
            )
        else:
            saved[name] = tensor
    return PeftTensors({path: _pair_up(path, half, place) for path, half in halves.items()}, saved)


def _pair_up(path: str, half: Mapping[str, Tensor], place: str) -> Pair:
    for kind in "AB":
        if kind not in half:
            raise TaskFileError(
                f"{place}: the tensor lora_{kind} of layer {path!r} is missing. Copy the file "
                "again from where it was saved."
            )
    return half["A"], half["B"]


def _check_numbers(name: str, tensor: Tensor, place: str) -> None:
    if tensor.dtype not in _TYPES or tensor.ndim not in (2, 4) or not tensor.numel():
        raise TaskFileError(
            f"{place}: the tensor {name!r} is {tensor.dtype} of shape {tuple(tensor.shape)}; an A "
            "or a B is a matrix or a kernel of floating-point numbers."
        )
    if not bool(torch.isfinite(tensor).all()):
        raise TaskFileError(
            f"{place}: the tensor {name!r} holds NaN or infinity, so its answers would be "
            "meaningless. Train the adapter again, with a lower learning rate."
        )
