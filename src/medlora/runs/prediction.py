"""A stream of image files in, a stream of answers out, in the same order."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from medlora.data.image import decode_image, prepare_image
from medlora.data.source import ImageSource
from medlora.errors import UnreadableImageError
from medlora.evaluate.abstaining import Reservation, judge_answers
from medlora.evaluate.answers import answer_batch
from medlora.evaluate.metrics import decide
from medlora.evaluate.predict import convert_logits
from medlora.runs.ahead import prepare_ahead
from medlora.runs.opened import OpenedTask
from medlora.runs.scoring import join_names


@dataclass(frozen=True)
class Prediction:
    """The answer for one image, or why there is none.

    Attributes:
        location: The image.
        probabilities: One for each class, in [0, 1]; None where it cannot be read.
        decision: The class; for multi-label tasks those chosen, joined by a vertical bar.
        error: What is wrong with the image; None where nothing is.
        abstain: Why the answer should not be used; empty where nothing speaks against it, and
            where there is no answer.
        prediction_set: The classes that cannot be ruled out at the task's coverage; None where
            the task has no prediction sets, or there is no answer.
        undecided: Labels of a multi-label task that its sets leave open.
        novelty: How unlike the training images the image is, above 1 where it is; None where the
            task keeps nothing of them, or there is no answer.
    """

    location: str
    probabilities: tuple[float, ...] | None
    decision: str | None
    error: str | None
    abstain: str = ""
    prediction_set: tuple[str, ...] | None = None
    undecided: tuple[str, ...] = ()
    novelty: float | None = None


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

    def prepare(location: str) -> npt.NDArray[np.uint8]:
        return prepare_image(decode_image(source.read_bytes(location), location), preprocessing)

    for batch in prepare_ahead(locations, prepare, batch_size=batch_size, n_threads=n_threads):
        yield from _answer(task, batch)


def _answer(
    task: OpenedTask,
    batch: Sequence[tuple[str, npt.NDArray[np.uint8] | UnreadableImageError]],
) -> Iterator[Prediction]:
    card = task.card
    pixels = [found for _, found in batch if not isinstance(found, UnreadableImageError)]
    answers: Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], Reservation]] = iter(())
    if pixels:
        images = torch.from_numpy(np.stack(pixels))
        found = answer_batch(
            task.model,
            images,
            card.preprocessing,
            measures=task.measures,
        )
        probabilities = convert_logits(found.logits, multi_label=card.multi_label)
        decisions = decide(probabilities, card.thresholds, card.multi_label)
        reservations = judge_answers(card, probabilities, found.novelty)
        answers = zip(probabilities, decisions, reservations, strict=True)
    for location, prepared in batch:
        if isinstance(prepared, UnreadableImageError):
            yield Prediction(location, None, None, prepared.reason)
            continue
        probability, decision, reservation = next(answers)
        yield Prediction(
            location,
            tuple(float(value) for value in probability),
            join_names(card.classes, decision),
            None,
            abstain=reservation.abstain,
            prediction_set=reservation.prediction_set,
            undecided=reservation.undecided,
            novelty=reservation.novelty,
        )
