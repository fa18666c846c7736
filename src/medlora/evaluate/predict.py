"""Prepared images to probabilities."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medlora.data.image import normalise_batch
from medlora.data.loader import ImageReader, iterate_rows
from medlora.evaluate.features import FeatureReader
from medlora.preprocessing import Preprocessing
from medlora.progress import Progress, silent
from medlora.task.ensemble import EnsembleModel
from medlora.task.model import TaskModel
from medlora.task.opening import compute_probabilities


def predict_rows(
    model: TaskModel | EnsembleModel,
    images: ImageReader,
    rows: Sequence[int] | npt.NDArray[np.int64],
    preprocessing: Preprocessing,
    *,
    multi_label: bool,
    batch_size: int = 32,
    progress: Progress = silent,
    stage: str = "predicting",
    features: FeatureReader | None = None,
) -> npt.NDArray[np.float64]:
    """Probabilities of some rows' images, in the order of the rows.

    Args:
        model: The task's model; its training mode is put back afterwards.
        images: Where prepared images come from.
        rows: Rows to predict.
        preprocessing: The task's preprocessing.
        multi_label: Whether an image may have several classes.
        batch_size: Images at a time.
        progress: Told after every batch.
        stage: What to call this work.
        features: Where the answers of the frozen first part come from, in place of images; for
            a task's own model, no ensemble.

    Returns:
        (row, class), in [0, 1].
    """
    logits = predict_logits(
        model,
        images,
        rows,
        preprocessing,
        batch_size=batch_size,
        progress=progress,
        stage=stage,
        features=features,
    )
    return convert_logits(logits, multi_label=multi_label)


def convert_logits(
    logits: npt.NDArray[np.float64], *, multi_label: bool
) -> npt.NDArray[np.float64]:
    """(row, class) probabilities of logits, as every answer of a task is made of them.

    Args:
        logits: (row, class).
        multi_label: Whether an image may have several classes.
    """
    return compute_probabilities(torch.from_numpy(logits), multi_label=multi_label).numpy()


def predict_logits(
    model: TaskModel | EnsembleModel,
    images: ImageReader,
    rows: Sequence[int] | npt.NDArray[np.int64],
    preprocessing: Preprocessing,
    *,
    batch_size: int = 32,
    progress: Progress = silent,
    stage: str = "predicting",
    features: FeatureReader | None = None,
) -> npt.NDArray[np.float64]:
    """Logits of some rows' images, in the order of the rows.

    The arguments are those of `predict_rows`.

    Returns:
        (row, class); `convert_logits` makes the probabilities of them.
    """
    if features is not None:
        features.fill(rows, progress=progress)
    was_training = model.training
    model.eval()
    parts = [np.zeros((0, model.head.out_features))]
    try:
        for some in iterate_rows(rows, batch_size, progress, stage):
            if features is not None and isinstance(model, TaskModel):
                logits = _answer_started(model, features.read(some))
            else:
                logits = _answer_images(model, images.read(some), preprocessing)
            parts.append(logits.cpu().double().numpy())
    finally:
        model.train(was_training)
    return np.concatenate(parts)


@torch.inference_mode()
def extract_rows(
    model: TaskModel,
    images: ImageReader,
    rows: Sequence[int] | npt.NDArray[np.int64],
    preprocessing: Preprocessing,
    *,
    batch_size: int = 32,
    progress: Progress = silent,
    features: FeatureReader | None = None,
) -> npt.NDArray[np.float64]:
    """What the head gets for some rows' images, in the order of the rows.

    The arguments are those of `predict_rows`.

    Returns:
        (row, feature).
    """
    if features is not None:
        features.fill(rows, progress=progress)
    model.eval()
    device = model.head.weight.device
    parts = [np.zeros((0, model.head.in_features))]
    for some in iterate_rows(rows, batch_size, progress, "features"):
        if features is not None:
            own = model.extract_features(features.read(some).to(device), is_started=True)
        else:
            inputs = normalise_batch(images.read(some).to(device), preprocessing)
            own = model.extract_features(inputs)
        parts.append(own.cpu().double().numpy())
    return np.concatenate(parts)


def predict_batch(
    model: TaskModel | EnsembleModel,
    images: Tensor,
    preprocessing: Preprocessing,
    *,
    multi_label: bool,
) -> npt.NDArray[np.float64]:
    """Probabilities of prepared images.

    Args:
        model: The task's model, in evaluation mode.
        images: uint8 (image, 3, height, width).
        preprocessing: The task's preprocessing.
        multi_label: Whether an image may have several classes.

    Returns:
        (image, class), in [0, 1].
    """
    logits = _answer_images(model, images, preprocessing)
    return compute_probabilities(logits, multi_label=multi_label).cpu().numpy()


@torch.inference_mode()
def _answer_images(
    model: TaskModel | EnsembleModel, images: Tensor, preprocessing: Preprocessing
) -> Tensor:
    """Logits of prepared images, uint8 (image, 3, height, width)."""
    inputs = normalise_batch(images.to(model.head.weight.device), preprocessing)
    logits: Tensor = model(inputs)
    return logits


@torch.inference_mode()
def _answer_started(model: TaskModel, hidden: Tensor) -> Tensor:
    """Logits of what `TaskModel.start` gave for images, (image, ...)."""
    logits: Tensor = model(hidden.to(model.head.weight.device), is_started=True)
    return logits
