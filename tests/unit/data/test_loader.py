"""Batches: order, resuming, processes, reading ahead."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medlora.data.loader import (
    Batch,
    count_batches,
    iterate_rows,
    plan_epoch,
    training_batches,
)
from medlora.errors import DataError, SettingsError, UnreadableImageError

N_IMAGES = 23
TARGETS = np.eye(3, dtype=bool)[np.arange(N_IMAGES) % 3]


class NumberedImages:
    """Images whose every pixel is their row, and a list of what was read."""

    def __init__(self, unreadable: int | None = None) -> None:
        self.reads: list[list[int]] = []
        self.unreadable = unreadable

    def read(self, rows: Sequence[int]) -> torch.Tensor:
        if self.unreadable in rows:
            raise UnreadableImageError("bad.png", "is truncated")
        self.reads.append(list(rows))
        values = torch.tensor(rows, dtype=torch.uint8)
        return values[:, None, None, None].expand(-1, 3, 2, 2).clone()


def rows_of(batches: Sequence[Batch]) -> list[list[int]]:
    return [batch.rows.tolist() for batch in batches]


def train(images: NumberedImages | None = None, **changes: object) -> list[Batch]:
    arguments: dict[str, object] = {"batch_size": 4, "seed": 1, "epoch": 0, **changes}
    reader = images or NumberedImages()
    return list(training_batches(reader, TARGETS, np.arange(N_IMAGES), **arguments))  # type: ignore[arg-type]


def test_an_epoch_holds_every_row_once_with_its_own_image_and_targets() -> None:
    batches = train()
    assert sorted(row for rows in rows_of(batches) for row in rows) == list(range(N_IMAGES))
    assert [len(batch.rows) for batch in batches] == [4, 4, 4, 4, 4, 3]
    for batch in batches:
        assert batch.images.dtype == torch.uint8 and batch.targets.dtype == torch.float32
        assert batch.rows.dtype == torch.int64
        assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.rows)
        assert torch.equal(batch.targets.bool(), torch.from_numpy(TARGETS)[batch.rows])


def test_order_is_a_function_of_seed_and_epoch() -> None:
    assert rows_of(train()) == rows_of(train())
    assert rows_of(train()) != rows_of(train(epoch=1))
    assert rows_of(train()) != rows_of(train(seed=2))
    assert rows_of(train(seed=1, epoch=2)) != rows_of(train(seed=2, epoch=1))


@pytest.mark.parametrize("prefetch", [0, 1, 2, 10])
def test_resuming_gives_the_rest_and_reads_nothing_before_it(prefetch: int) -> None:
    whole = rows_of(train())
    images = NumberedImages()
    assert rows_of(train(images, start_step=4, prefetch=prefetch)) == whole[4:]
    assert images.reads == whole[4:]
    assert train(start_step=6) == []


def test_rows_of_the_table_are_used_not_positions() -> None:
    rows = np.array([5, 9, 17])
    batches = list(training_batches(NumberedImages(), TARGETS, rows, batch_size=2, seed=0, epoch=0))
    # Two and one: the last batch of one image is left out.
    assert len(batches) == 1 and set(rows_of(batches)[0]) < {5, 9, 17}


def test_a_last_batch_of_one_is_dropped_only_where_others_exist() -> None:
    assert [count_batches(n, 4) for n in (1, 2, 4, 5, 6, 9)] == [1, 1, 1, 1, 2, 2]
    assert count_batches(5, 1) == 5
    assert count_batches(0, 4) == 0


@settings(max_examples=60, deadline=None)
@given(n_rows=st.integers(1, 60), batch_size=st.integers(1, 9), n_processes=st.integers(1, 5))
def test_processes_share_an_epoch_evenly(n_rows: int, batch_size: int, n_processes: int) -> None:
    rows = np.arange(n_rows) + 100
    plans = [
        plan_epoch(
            rows,
            batch_size=batch_size,
            seed=0,
            epoch=3,
            process_index=index,
            n_processes=n_processes,
        )
        for index in range(n_processes)
    ]
    sizes = [[len(batch) for batch in plan] for plan in plans]
    assert all(own == sizes[0] for own in sizes)
    assert len(sizes[0]) == count_batches(n_rows, batch_size, n_processes)
    taken = np.concatenate([batch for plan in plans for batch in plan])
    n_dropped = n_rows - len(np.unique(taken))
    assert set(taken) <= set(rows)
    assert n_dropped <= n_processes
    if all(size > 1 for size in sizes[0]) and -(-n_rows // n_processes) == sum(sizes[0]):
        assert n_dropped == 0


def test_weights_choose_how_often_a_row_is_drawn() -> None:
    weights = np.where(np.arange(N_IMAGES) == 7, 10.0, 0.0)
    weights[3] = 10.0
    drawn = [row for rows in rows_of(train(sample_weights=weights)) for row in rows]
    assert set(drawn) == {3, 7} and len(drawn) == N_IMAGES
    assert rows_of(train(sample_weights=weights)) == rows_of(train(sample_weights=weights))


@pytest.mark.parametrize(
    "weights", [np.ones(4), -np.ones(N_IMAGES), np.zeros(N_IMAGES), np.full(N_IMAGES, np.nan)]
)
def test_weights_that_mean_nothing_are_refused(weights: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"(one sample weight for each of the 23|finite)"):
        train(sample_weights=weights)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"batch_size": 0}, "Batch size must be at least 1, not 0"),
        ({"start_step": 7}, r"start_step must be in \[0, 6\], not 7"),
        ({"prefetch": -1}, "prefetch must be at least 0, not -1"),
        ({"n_processes": 0}, "n_processes must be at least 1, not 0"),
        ({"process_index": 2, "n_processes": 2}, r"process_index must be in \[0, 1\], not 2"),
        ({"seed": -1}, "at least 0, not -1 and 0"),
    ],
)
def test_settings_out_of_range_are_refused_before_the_first_batch(
    change: dict[str, int], rule: str
) -> None:
    arguments = {"batch_size": 4, "seed": 0, "epoch": 0, **change}
    with pytest.raises(SettingsError, match=rule):
        training_batches(NumberedImages(), TARGETS, np.arange(N_IMAGES), **arguments)


def test_no_rows_cannot_be_trained_on() -> None:
    with pytest.raises(DataError, match="There are no images"):
        training_batches(
            NumberedImages(), TARGETS, np.array([], dtype=int), batch_size=4, seed=0, epoch=0
        )


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_unreadable_image_reaches_the_caller(prefetch: int) -> None:
    with pytest.raises(UnreadableImageError, match=r"bad\.png: is truncated"):
        train(NumberedImages(unreadable=11), prefetch=prefetch)


class WaitingImages(NumberedImages):
    """Reads one batch at once, and any other only when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def read(self, rows: Sequence[int]) -> torch.Tensor:
        if self.reads:
            self.let_go.wait(timeout=30)
        return super().read(rows)


def test_stopping_early_ends_the_thread_and_the_reading() -> None:
    images = WaitingImages()
    batches = training_batches(
        images, TARGETS, np.arange(N_IMAGES), batch_size=1, seed=0, epoch=0, prefetch=10
    )
    next(batches)
    threading.Timer(0.1, images.let_go.set).start()
    batches.close()  # type: ignore[attr-defined]
    names = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("medlora-batches") for name in names)
    assert len(images.reads) <= 2, "what had begun is finished, the other nine are not"


def test_a_batch_of_rows_is_told_of_when_it_is_done() -> None:
    events: list[tuple[int, ...]] = []
    rows = np.array([7, 2, 5, 1, 3])
    for some in iterate_rows(rows, 2, lambda _, done, total: events.append((done, total)), "x"):
        events.append(tuple(some))
    assert events == [(7, 2), (2, 5), (5, 1), (4, 5), (3,), (5, 5)]
    assert list(iterate_rows([], 2, lambda *_: events.append(()), "x")) == []
    assert () not in events
