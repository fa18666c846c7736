"""Questions to a bank before they are answered: whether they can be, and in which batches."""

from collections.abc import Iterator, Sequence

from medlora.bank.held import HeldTask
from medlora.bank.pixels import PreparedImage, name_pixels
from medlora.errors import DataError, TaskBankError


def check_count(tasks: Sequence[Sequence[str]], images: Sequence[object]) -> None:
    """Refuse questions that are not one entry for each image.

    Raises:
        DataError: They are not.
    """
    if len(tasks) != len(images):
        raise DataError(
            f"There are {len(images)} images and tasks for {len(tasks)}. Name the task or tasks "
            "of each image."
        )


def check_prepared(image: PreparedImage, place: int, tasks: Sequence[HeldTask]) -> None:
    """Refuse an image without the pixels that one of its tasks wants.

    Args:
        image: The prepared image.
        place: Its number, for the error.
        tasks: What it is asked.

    Raises:
        TaskBankError: It was prepared for other tasks, or for another version of one.
    """
    for task in tasks:
        if name_pixels(task.card.preprocessing) not in image:
            raise TaskBankError(
                f"Image number {place} was not prepared for task {task.card.name!r} as it is now: "
                "it was not named then, or was replaced since. Prepare the image again."
            )


def cut_batches(asked: Sequence[Sequence[str]], size: int) -> Iterator[tuple[int, int]]:
    """Runs of images whose questions together are at most `size`; one image at least.

    Args:
        asked: For each image the tasks that it is asked.
        size: Questions in a batch.

    Yields:
        Numbers of the first image of a batch and of the one behind its last.

    Raises:
        DataError: An image is asked no task.
    """
    start = n_questions = 0
    for place, names in enumerate(asked):
        if not names:
            raise DataError(f"Image number {place} is asked no task. Name one at least.")
        if n_questions and n_questions + len(names) > size:
            yield start, place
            start, n_questions = place, 0
        n_questions += len(names)
    if n_questions:
        yield start, len(asked)
