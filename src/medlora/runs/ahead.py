"""Images that are decoded ahead of the computation, a batch at a time, in their order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from medlora.errors import UnreadableImageError

ItemT = TypeVar("ItemT")
ReadyT = TypeVar("ReadyT")


def prepare_ahead(
    items: Iterable[ItemT],
    prepare: Callable[[ItemT], ReadyT],
    *,
    batch_size: int,
    n_threads: int,
) -> Iterator[list[tuple[ItemT, ReadyT | UnreadableImageError]]]:
    """Batches of items with what was prepared of each, one batch ahead of the caller.

    Args:
        items: The items; taken one batch ahead, so that there may be any number of them.
        prepare: Called for each item in one of several threads.
        batch_size: Items in a batch; the last one may hold fewer.
        n_threads: Items that are prepared at the same time.

    Yields:
        Each item with what `prepare` gave, or with the error where its image is unreadable.
    """
    with ThreadPoolExecutor(n_threads, thread_name_prefix="medlora-decode") as pool:
        waiting: deque[list[tuple[ItemT, Future[ReadyT | UnreadableImageError]]]] = deque()
        for batch in _batch(items, batch_size):
            waiting.append([(item, pool.submit(_attempt, prepare, item)) for item in batch])
            if len(waiting) > 1:
                yield [(item, future.result()) for item, future in waiting.popleft()]
        while waiting:
            yield [(item, future.result()) for item, future in waiting.popleft()]


def _attempt(prepare: Callable[[ItemT], ReadyT], item: ItemT) -> ReadyT | UnreadableImageError:
    try:
        return prepare(item)
    except UnreadableImageError as error:
        # Without its frames: they would hold its future, and the future it, which for many bad
        # files is much memory until it is collected.
        return UnreadableImageError(error.location, error.reason)


def _batch(items: Iterable[ItemT], size: int) -> Iterator[list[ItemT]]:
    batch: list[ItemT] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
