"""Tasks that keep where training images lie, for the tests of whatever carries or uses that."""

from dataclasses import replace

import numpy as np
import torch

from medlora.backbones.observing import choose_place
from medlora.backbones.weights import Backbone
from medlora.data.image import normalise_batch, prepare_image
from medlora.evaluate.novelty import NoveltyMeasure, fit_training_images, pack_novelty
from medlora.evaluate.novelty_limit import NoveltyLimit
from medlora.task.file import Task
from medlora.task.opening import build_model, draw_check_images

N_IMAGES = 12


def keep_novelty(
    task: Task, backbone: Backbone, *, limit: float = 2.0, place: str | None = None
) -> Task:
    """The task as if it had been trained on synthetic images of coarse noise."""
    images = draw_check_images(1, N_IMAGES, task.card.preprocessing)
    where = place or choose_place(backbone.model)
    cloud = fit_training_images(describe(task, backbone, images, where).numpy())
    limits = NoveltyLimit(limit, 0.1, 9)
    settings, tensors = pack_novelty(cloud, limits, place=where, n_train=N_IMAGES)
    return Task(replace(task.card, novelty=settings), task.tensors | tensors)


@torch.inference_mode()
def describe(task: Task, backbone: Backbone, images: torch.Tensor, place: str) -> torch.Tensor:
    """Prepared images as the task's own model sees them on the way to its answer."""
    model = build_model(task, backbone, place="memory")
    return model.describe(normalise_batch(images, task.card.preprocessing), place)


def score_apart(task: Task, backbone: Backbone, picture: np.ndarray) -> float:
    """How unlike the training images a decoded image is, by the task's own model."""
    pixels = torch.from_numpy(prepare_image(picture, task.card.preprocessing))[None]
    measure = NoveltyMeasure.read(task, "memory")
    assert measure is not None
    return float(measure.score(describe(task, backbone, pixels, measure.place))[0])
