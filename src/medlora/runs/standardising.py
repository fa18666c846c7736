"""Inputs of factorised layers at mean 0 and deviation 1, as the training images have them."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from medlora.data.image import normalise_batch
from medlora.data.loader import iterate_rows
from medlora.lora.factorised import FactorisedLayer, find_factorised
from medlora.runs.ongoing import OngoingRun
from medlora.task.model import TaskModel
from medlora.train.examples import TrainingData

# Training images that mean and deviation are taken from; each has 49 places in each channel.
N_IMAGES = 1024
# Of the channels' root mean square deviation: a channel that hardly varies says nothing, and
# what it does elsewhere must not be magnified without bounds.
_SMALLEST_DEVIATION = 0.01


def standardise_inputs(run: OngoingRun, model: TaskModel, training: TrainingData) -> None:
    """Let the first factorised layer of an untrained model standardise what it is given.

    A few channels of a pretrained network vary a hundred times as much as others, and a step of the
    optimiser moves the answer along these alone. The same images are looked at whenever a run is
    taken up, so that it goes on as it began. `FactorisedLayer.fold` puts it into the weights.

    Args:
        run: The run.
        model: Its model, of the method `factorised`.
        training: What is learnt from; kept features are read where there are any.
    """
    layer = _find_first(model)
    rows = training.train_rows
    spread = np.linspace(0, len(rows) - 1, min(N_IMAGES, len(rows))).round().astype(int)
    n_values = 0
    total = squares = torch.zeros((), dtype=torch.float64)
    for hidden in _read_inputs(run, model, training, [int(row) for row in rows[spread]]):
        values = hidden.double().transpose(0, 1).flatten(1)
        n_values += values.shape[1]
        total = total + values.sum(dim=1).cpu()
        squares = squares + values.square().sum(dim=1).cpu()
    mean = total / n_values
    variance = (squares / n_values - mean.square()).clamp(min=0)
    floor = _SMALLEST_DEVIATION * variance.mean().sqrt()
    deviation = variance.sqrt().clamp(min=float(floor))
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    layer.standardise(mean.float(), deviation.float())


def fold_inputs(model: TaskModel) -> None:
    """Put what `standardise_inputs` did into the weights: the answers stay what they are."""
    _find_first(model).fold()


def _find_first(model: TaskModel) -> FactorisedLayer:
    return next(iter(find_factorised(model.network).values()))


@torch.no_grad()
def _read_inputs(
    run: OngoingRun, model: TaskModel, training: TrainingData, rows: Sequence[int]
) -> Iterator[Tensor]:
    """Batches (image, channel, height, width) of what the first layer is given."""
    device = model.head.weight.device
    views = training.draw_views(run.settings)
    # The first of an image's views: what the run learns from, whether its features are kept or not.
    view = None if views is None else 0
    if run.features is not None:
        run.features.fill(rows, view, progress=run.progress)
    for batch in iterate_rows(rows, run.settings.batch_size, run.progress, "standardising"):
        if run.features is not None:
            yield run.features.read(batch, view).to(device)
        else:
            images = training.images.read(batch).to(device)
            if views is not None:
                images = views.apply(images, batch, 0)
            yield model.start(normalise_batch(images, training.preprocessing))
