"""A stream of image files in, a stream of answers out, in the same order."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from medlora.data.image import decode_image, prepare_image
from medlora.data.source import ImageSource
from medlora.errors import UnreadableImageError
from medlora.evaluate.metrics import decide
from medlora.evaluate.predict import predict_batch
from medlora.preprocessing import Preprocessing
from medlora.runs.opened import OpenedTask
from medlora.runs.scoring import join_names

_Prepared: TypeAlias = npt.NDArray[np.uint8] | str


@dataclass(frozen=True)
class Prediction:
    """The answer for one image, or why there is none.

    Attributes:
        location: The image.
        probabilities: One for each class, in [0, 1]; None where it cannot be read.
        decision: The class; for multi-label tasks those chosen, joined by a vertical bar.
        error: What is wrong with the image; None where nothing is.
    """

    location: str
    probabilities: tuple[float, ...] | None
    decision: str | None
    error: str | None


def predict_images(
    task: OpenedTask,
    source: ImageSource,
    locations: Iterable[str],
    *,
    batch_size: int = 32,
    n_threads: int = 2,
) -> Iterator[Prediction]:
    """Answers for images, in their order; memory does not grow with their number.

    An image that cannot be read gets an answer that says why, and the others go on.

    Args:
        task: The task.
        source: Where the images are.
        locations: The images; taken one batch ahead.
        batch_size: Images at a time.
        n_threads: Images that are decoded at the same time.
    """
    preprocessing = task.card.preprocessing
    with ThreadPoolExecutor(n_threads, thread_name_prefix="medlora-decode") as pool:
        waiting: deque[list[tuple[str, Future[_Prepared]]]] = deque()
        for names in _batch(locations, batch_size):
            waiting.append(
                [(name, pool.submit(_prepare, source, name, preprocessing)) for name in names]
            )
            if len(waiting) > 1:
                yield from _answer(task, waiting.popleft())
        while waiting:
            yield from _answer(task, waiting.popleft())


def _batch(locations: Iterable[str], size: int) -> Iterator[list[str]]:
    batch: list[str] = []
    for location in locations:
        batch.append(location)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _prepare(source: ImageSource, location: str, preprocessing: Preprocessing) -> _Prepared:
    """The image, or what is wrong with it.

    An error that left here would hold its future, and the future it: for many bad files that
    is much memory until it is collected.
    """
    try:
        return prepare_image(decode_image(source.read_bytes(location), location), preprocessing)
    except UnreadableImageError as error:
        return error.reason


def _answer(
    task: OpenedTask, batch: Sequence[tuple[str, Future[_Prepared]]]
) -> Iterator[Prediction]:
    card = task.card
    pixels: list[npt.NDArray[np.uint8]] = []
    errors: dict[int, str] = {}
    for place, (_, future) in enumerate(batch):
        found = future.result()
        if isinstance(found, str):
            errors[place] = found
        else:
            pixels.append(found)
    answers: Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]] = iter(())
    if pixels:
        images = torch.from_numpy(np.stack(pixels))
        probabilities = predict_batch(
            task.model, images, card.preprocessing, multi_label=card.multi_label
        )
        decisions = decide(probabilities, card.thresholds, card.multi_label)
        answers = zip(probabilities, decisions, strict=True)
    for place, (location, _) in enumerate(batch):
        if place in errors:
            yield Prediction(location, None, None, errors[place])
            continue
        probability, decision = next(answers)
        values = tuple(float(value) for value in probability)
        yield Prediction(location, values, join_names(card.classes, decision), None)
