"""The optimiser of a run."""

from collections.abc import Iterable

import torch
from torch import nn

from medlora.train.settings import TrainSettings


def build_optimizer(
    parameters: Iterable[nn.Parameter], settings: TrainSettings
) -> torch.optim.Optimizer:
    """The optimiser that the settings ask for.

    Args:
        parameters: Everything that is trained.
        settings: With the learning rate filled in, as `TrainSettings.resolve` does.
    """
    rate = settings.learning_rate or 0.0
    decay = settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay)
    # One pass over a tensor's values where the plain loop takes a dozen.
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr=rate, weight_decay=decay, fused=True)
