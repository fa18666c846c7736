"""Images for tasks that prepare them alike or differently: each way is done once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor

from medlora.data.image import normalise_batch
from medlora.preprocessing import Preprocessing

# Pixels, uint8 (3, height, width), by what was done to get them; see `name_pixels`.
PreparedImage: TypeAlias = Mapping[Preprocessing, Tensor]


@lru_cache(maxsize=1024)
def name_pixels(preprocessing: Preprocessing) -> Preprocessing:
    """The preprocessing without what comes after the pixels, the same for the same pixels.

    Mean and standard deviation do not count; only where the border has the mean's colour does
    the mean.

    Example:
        >>> one = Preprocessing((8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)
        >>> other = Preprocessing((8, 8), mean=(0.4,) * 3, std=(0.2,) * 3)
        >>> name_pixels(one) == name_pixels(other)
        True
    """
    keeps_mean = preprocessing.crop_mode == "border"
    n_channels = preprocessing.n_channels
    mean = preprocessing.mean if keeps_mean else (0.0,) * n_channels
    return replace(preprocessing, mean=mean, std=(1.0,) * n_channels)


def gather_inputs(
    images: Sequence[PreparedImage],
    wanted: Sequence[tuple[int, Preprocessing]],
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, list[int]]:
    """Normalised inputs of one size, each image and preprocessing once.

    Args:
        images: The prepared images.
        wanted: Place of an image and its preprocessing, for each question.
        dtype: Type of the inputs.
        device: Where they go.

    Returns:
        Float (input, 3, height, width), and for each question the number of its input.
    """
    groups: dict[Preprocessing, list[int]] = {}
    for place, preprocessing in dict.fromkeys(wanted):
        groups.setdefault(preprocessing, []).append(place)
    numbers: dict[tuple[int, Preprocessing], int] = {}
    parts = []
    for preprocessing, places in groups.items():
        key = name_pixels(preprocessing)
        pixels = torch.stack([images[place][key] for place in places]).to(device)
        parts.append(normalise_batch(pixels, preprocessing, dtype))
        for place in places:
            numbers[place, preprocessing] = len(numbers)
    inputs = parts[0] if len(parts) == 1 else torch.cat(parts)
    return inputs, [numbers[question] for question in wanted]
