"""A backbone for images with another number of channels than three."""

from dataclasses import replace

import torch
from timm.models import adapt_input_conv
from torch import nn

from medlora.errors import BackboneError
from medlora.preprocessing import Preprocessing

_N_COLOURS = 3


def adapt_first_layer(model: nn.Module, n_channels: int) -> None:
    """Let a model's first convolutions take `n_channels` in place of red, green and blue.

    The weights are timm's adaptation of the pretrained ones: for one channel their sum over the
    colours; for more, the colours' weights in turn, times 3 / `n_channels`, so that features
    keep their size. With three channels they stay as they are.

    Args:
        model: A timm model that takes three channels; it is changed.
        n_channels: How many it is to take, at least 1.

    Raises:
        BackboneError: The model does not tell which its first layer is.
    """
    stated = getattr(model, "pretrained_cfg", {}).get("first_conv") or ()
    names = [stated] if isinstance(stated, str) else list(stated)
    layers = [_find_layer(model, name) for name in names]
    if not layers or None in layers:
        raise BackboneError(
            f"{type(model).__name__} does not tell which its first layer is, so that it takes "
            "colour images only. Choose another backbone for several series."
        )
    for layer in layers:
        if layer is not None:
            weight = adapt_input_conv(n_channels, layer.weight.detach())
            layer.weight = nn.Parameter(weight.contiguous().to(torch.float32))
            layer.in_channels = n_channels


def adapt_preprocessing(preprocessing: Preprocessing, channels: tuple[str, ...]) -> Preprocessing:
    """The same for series: each is normalised by the mean of what the colours are."""
    n_channels = len(channels)
    mean, std = (sum(values) / _N_COLOURS for values in (preprocessing.mean, preprocessing.std))
    return replace(
        preprocessing, channels=channels, mean=(mean,) * n_channels, std=(std,) * n_channels
    )


def _find_layer(model: nn.Module, name: str) -> nn.Conv2d | None:
    layer = dict(model.named_modules()).get(name)
    if not isinstance(layer, nn.Conv2d) or layer.groups != 1 or layer.in_channels != _N_COLOURS:
        return None
    return layer
