"""Prepared images to logits and, in one pass with them, to scores of novelty."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medlora.data.image import normalise_batch
from medlora.data.loader import ImageReader, iterate_rows
from medlora.evaluate.novelty import NoveltyMeasure
from medlora.preprocessing import Preprocessing
from medlora.progress import Progress, silent
from medlora.task.ensemble import EnsembleModel
from medlora.task.model import TaskModel


@dataclass(frozen=True, eq=False)
class ImageAnswers:
    """What a task says about some images.

    Attributes:
        logits: (image, class); `medlora.evaluate.predict.convert_logits` gives probabilities.
        novelty: (image,), at least 0; above 1 an image is unlike the training images. None where
            the task keeps nothing of its training images.
    """

    logits: npt.NDArray[np.float64]
    novelty: npt.NDArray[np.float64] | None


@torch.inference_mode()
def answer_batch(
    model: TaskModel | EnsembleModel,
    images: Tensor,
    preprocessing: Preprocessing,
    *,
    measures: Sequence[NoveltyMeasure] = (),
) -> ImageAnswers:
    """Answers about prepared images.

    Args:
        model: The task's model, in evaluation mode.
        images: uint8 (image, channel, height, width).
        preprocessing: The task's preprocessing.
        measures: The task's, or each member's of an ensemble, whose scores are averaged; nothing
            where there is none.
    """
    inputs = normalise_batch(images.to(model.head.weight.device), preprocessing)
    if not measures:
        return ImageAnswers(model(inputs).double().cpu().numpy(), None)
    places = [measure.place for measure in measures]
    if isinstance(model, EnsembleModel):
        logits, descriptions = model.answer_observed(inputs, places)
    else:
        features, description = model.observe(inputs, places[0])
        logits, descriptions = model.classify(features), (description,)
    scores = [
        measure.score(description)
        for measure, description in zip(measures, descriptions, strict=True)
    ]
    return ImageAnswers(logits.double().cpu().numpy(), np.mean(scores, axis=0))


def answer_rows(
    model: TaskModel | EnsembleModel,
    images: ImageReader,
    rows: Sequence[int] | npt.NDArray[np.int64],
    preprocessing: Preprocessing,
    *,
    measures: Sequence[NoveltyMeasure],
    batch_size: int = 32,
    progress: Progress = silent,
) -> ImageAnswers:
    """Answers about some rows' images, in the order of the rows.

    The arguments are those of `answer_batch` and of `medlora.evaluate.predict.predict_rows`.
    """
    found = [
        answer_batch(model, images.read(some), preprocessing, measures=measures)
        for some in iterate_rows(rows, batch_size, progress, "predicting")
    ]
    logits = [np.zeros((0, model.head.out_features)), *(own.logits for own in found)]
    scores = [own.novelty for own in found if own.novelty is not None]
    return ImageAnswers(np.concatenate(logits), np.concatenate(scores) if scores else None)


@torch.inference_mode()
def describe_rows(
    model: TaskModel,
    images: ImageReader,
    rows: Sequence[int] | npt.NDArray[np.int64],
    preprocessing: Preprocessing,
    place: str,
    *,
    batch_size: int = 32,
    progress: Progress = silent,
) -> npt.NDArray[np.float64]:
    """What enters one module of a model for some rows' images; nothing behind it is computed.

    Args:
        model: The model, in evaluation mode.
        images: Where prepared images come from.
        rows: Rows to describe.
        preprocessing: The task's preprocessing.
        place: The module.
        batch_size: Images at a time.
        progress: Told after every batch.

    Returns:
        (row, value), see `medlora.backbones.observing.summarise_hidden`.
    """
    device = model.head.weight.device
    parts = []
    for some in iterate_rows(rows, batch_size, progress, "novelty"):
        inputs = normalise_batch(images.read(some).to(device), preprocessing)
        parts.append(model.describe(inputs, place).double().cpu().numpy())
    return np.concatenate(parts)
