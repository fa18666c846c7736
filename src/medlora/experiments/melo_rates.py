"""Learning rates that MeLo's first experiment tries: as many for every method."""

from functools import cache

import torch

from medlora.backbones.spec import create_architecture
from medlora.task.card import Method

# A factor of about three apart. On brain-tumour images and ViT-Ti/16 .01 for `linear` and 3e-4 for
# `full` were each the best and the highest of three.
_RATES: dict[str, tuple[float, ...]] = {
    "linear": (1e-2, 3e-2, 1e-1),
    "lora": (1e-3, 3e-3, 1e-2),
    "full": (1e-4, 3e-4, 1e-3),
}
# A larger network bears lower rates within. On CLIP ViT-B/16 the lowest of the adapter's above was
# the best on the validation images of the two small tasks, and the highest by far the worst. The
# probe's are rates of a head alone, whatever lies before it.
_LARGE_RATES = _RATES | {"lora": (3e-4, 1e-3, 3e-3), "full": (3e-5, 1e-4, 3e-4)}
_LARGE_FROM = 50_000_000


@cache
def choose_rates(backbone: str, method: Method) -> tuple[float, ...]:
    """The rates to try for a method.

    Args:
        backbone: timm's name; no weights are looked for.
        method: `linear`, `lora` or `full`.

    Returns:
        Three, ascending; lower ones for what trains within a network of 50 million parameters or
        more.

    Raises:
        BackboneError: timm has no such model.

    Example:
        >>> choose_rates("vit_tiny_patch16_224", "lora")
        (0.001, 0.003, 0.01)
        >>> choose_rates("vit_base_patch16_224", "lora")
        (0.0003, 0.001, 0.003)
    """
    with torch.device("meta"):
        network = create_architecture(backbone)
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    rates = _LARGE_RATES if n_parameters >= _LARGE_FROM else _RATES
    return rates[method]
