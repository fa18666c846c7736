"""Images of which each asks its own tasks, answered by a bank in mixed batches."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from medlora.bank.answers import Answer
from medlora.bank.bank import DEFAULT_BATCH_SIZE, TaskBank
from medlora.bank.pixels import PreparedImage
from medlora.data.image import decode_image
from medlora.data.source import ImageSource
from medlora.errors import UnreadableImageError
from medlora.runs.ahead import prepare_ahead


@dataclass(frozen=True)
class RoutedPrediction:
    """The answers about one image, or why there are none.

    Attributes:
        location: The image.
        tasks: The tasks that it was asked.
        answers: The answer of each; None where the image cannot be read.
        error: What is wrong with the image; None where nothing is.
    """

    location: str
    tasks: tuple[str, ...]
    answers: dict[str, Answer] | None
    error: str | None


def predict_routed(
    bank: TaskBank,
    source: ImageSource,
    questions: Iterable[tuple[str, tuple[str, ...]]],
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    n_threads: int = 2,
) -> Iterator[RoutedPrediction]:
    """Answers for images in their order; memory does not grow with their number.

    An image is decoded once, whatever the number of its tasks. One that cannot be read gets an
    answer that says why, and the others go on.

    Args:
        bank: Holds the tasks.
        source: Where the images are.
        questions: An image and the tasks that it is asked; taken one batch ahead.
        batch_size: Images at a time, and pairs of image and task in one pass of the backbone.
        n_threads: Images that are decoded at the same time.

    Raises:
        TaskBankError: There is no task of such a name.
    """

    def prepare(question: tuple[str, tuple[str, ...]]) -> PreparedImage:
        location, names = question
        return bank.prepare(decode_image(source.read_bytes(location), location), names)

    for batch in prepare_ahead(questions, prepare, batch_size=batch_size, n_threads=n_threads):
        good = [
            (images, names)
            for (_, names), images in batch
            if not isinstance(images, UnreadableImageError)
        ]
        answers = iter(
            bank.predict_prepared(
                [images for images, _ in good],
                [names for _, names in good],
                batch_size=batch_size,
            )
        )
        for (location, names), images in batch:
            if isinstance(images, UnreadableImageError):
                yield RoutedPrediction(location, names, None, images.reason)
            else:
                yield RoutedPrediction(location, names, next(answers), None)
