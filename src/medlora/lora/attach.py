"""Wrap named layers of a model with low-rank updates, take them off, merge them into a copy."""

import copy
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn

from medlora.errors import TargetError
from medlora.lora.conv import LoRAConv2d
from medlora.lora.linear import FUSED_PARTS, WHOLE, LoRALinear
from medlora.lora.scaling import Scaling

LoRALayer = LoRALinear | LoRAConv2d


def find_targets(model: nn.Module, patterns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The layers that patterns name, in the model's order, with the parts to adapt.

    Args:
        model: A model whose layers carry no update yet.
        patterns: Shell-style patterns over the layers' dotted names, matched whole. Letters
            after a colon choose parts of a fused query-key-value layer: `blocks.*.attn.qkv:qv`.

    Returns:
        Layer name to the chosen parts; no parts where the whole layer is adapted.

    Raises:
        TargetError: A pattern names no linear or convolutional layer, or asks for parts
            that do not exist.
    """
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    }
    chosen: dict[str, tuple[str, ...]] = {}
    for pattern in patterns:
        glob, _, letters = pattern.partition(":")
        if set(letters) - set(FUSED_PARTS):
            raise TargetError(
                f"Target {pattern!r}: after the colon stand letters from q, k and v, "
                f"not {letters!r}."
            )
        matches = [name for name in layers if fnmatchcase(name, glob)]
        if not matches:
            examples = ", ".join(list(layers)[:3] + list(layers)[-2:])
            raise TargetError(
                f"Target {pattern!r} names no linear or convolutional layer. "
                f"This model's layers are called, for example: {examples}."
            )
        chosen.update(dict.fromkeys(matches, tuple(letters)))
    return {name: chosen[name] for name in layers if name in chosen}


def attach_adapters(
    model: nn.Module,
    targets: Mapping[str, Sequence[str]],
    *,
    rank: int,
    alpha: float,
    scaling: Scaling = "alpha/rank",
    dropout: float = 0.0,
) -> dict[str, LoRALayer]:
    """Wrap layers of `model` in place; their weights stay where they are, frozen.

    Args:
        model: The model to adapt.
        targets: Layer name to the parts to adapt, as `find_targets` gives it.
        rank: Rank of every update.
        alpha: Strength of every update.
        scaling: How alpha and rank give the factor.
        dropout: Dropout on the low-rank path, [0, 1).

    Returns:
        Layer name to the layer that now stands there.

    Raises:
        TargetError: A name is not a layer of the model, or that layer cannot carry an update.
    """
    adapted: dict[str, LoRALayer] = {}
    for name, parts in targets.items():
        base = _get_layer(model, name)
        try:
            if isinstance(base, nn.Linear):
                adapted[name] = LoRALinear(
                    base, rank=rank, alpha=alpha, scaling=scaling, dropout=dropout, parts=parts
                )
            elif isinstance(base, nn.Conv2d) and not parts:
                adapted[name] = LoRAConv2d(
                    base, rank=rank, alpha=alpha, scaling=scaling, dropout=dropout
                )
            else:
                raise TargetError(
                    f"A {type(base).__name__} cannot be adapted so: a linear layer can be, in "
                    "whole or in parts, and a convolution in whole. Choose other targets."
                )
        except TargetError as error:
            raise TargetError(f"Layer {name!r}: {error}") from error
    for name, layer in adapted.items():
        model.set_submodule(name, layer)
    return adapted


def detach_adapters(model: nn.Module) -> None:
    """Put every adapted layer's own base back in its place."""
    for name, layer in find_adapters(model).items():
        model.set_submodule(name, layer.base)


def find_adapters(model: nn.Module) -> dict[str, LoRALayer]:
    """The adapted layers of a model by name, in its order."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, LoRALinear | LoRAConv2d)
    }


def merge_adapters(model: nn.Module) -> nn.Module:
    """A copy of `model` with every update added to its layer's weight; `model` stays as it is."""
    merged = copy.deepcopy(model)
    for name, layer in find_adapters(merged).items():
        merged.set_submodule(name, layer.merged())
    return merged


def collect_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable A and B of every adapted layer.

    Returns:
        `<layer>.A`, or `<layer>.<part>.A` where a layer is adapted in parts, and likewise B.
    """
    matrices: dict[str, nn.Parameter] = {}
    for name, layer in find_adapters(model).items():
        if isinstance(layer, LoRAConv2d):
            matrices[f"{name}.A"] = layer.lora_A
            matrices[f"{name}.B"] = layer.lora_B
            continue
        for part in layer.columns:
            place = name if part == WHOLE else f"{name}.{part}"
            matrices[f"{place}.A"] = layer.lora_A[part]
            matrices[f"{place}.B"] = layer.lora_B[part]
    return matrices


def _get_layer(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise TargetError(
            f"The model has no layer {name!r}. Choose targets among its layers' names."
        ) from error


def count_parameters(tensors: Mapping[str, Tensor]) -> int:
    """Number of values in all tensors together."""
    return sum(tensor.numel() for tensor in tensors.values())
