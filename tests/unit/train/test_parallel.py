from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medlora.train.optimizer import build_optimizer
from medlora.train.parallel import agree, average, join_answers, share_rows
from medlora.train.settings import TrainSettings


def pretend(rank: int, world: list[torch.Tensor] | int) -> SimpleNamespace:
    """A process among others, whose answers to a gathering are known beforehand."""
    size = world if isinstance(world, int) else len(world)
    return SimpleNamespace(
        world_size=size,
        global_rank=rank,
        device=torch.device("cpu"),
        all_gather=lambda tensor: torch.stack(world),
    )


@pytest.mark.parametrize("n_rows", [1, 2, 5, 6, 7])
@pytest.mark.parametrize("n_processes", [1, 2, 3])
def test_shared_rows_come_back_in_order(n_rows, n_processes) -> None:
    rows = np.arange(n_rows) * 10
    parts = [share_rows(pretend(rank, n_processes), rows) for rank in range(n_processes)]
    assert len({len(part) for part in parts}) == 1
    assert {*np.concatenate(parts).tolist()} == {*rows.tolist()}
    answers = [np.stack([part / 1.0, part + 0.5], axis=1) for part in parts]
    fabric = pretend(0, [torch.from_numpy(answer) for answer in answers])
    joined = join_answers(fabric, answers[0], n_rows)
    np.testing.assert_array_equal(joined, np.stack([rows / 1.0, rows + 0.5], axis=1))


@pytest.mark.parametrize(("others", "stop"), [((0.0, 0.0), False), ((0.0, 1.0), True)])
def test_one_wish_is_enough(others, stop) -> None:
    fabric = pretend(0, [torch.tensor(value) for value in others])
    assert agree(fabric, bool(others[0])) is stop


def test_alone_a_wish_is_an_answer() -> None:
    assert agree(pretend(0, 1), True) is True
    assert agree(pretend(0, 1), False) is False


def test_losses_are_averaged() -> None:
    assert average(pretend(0, 1), 0.1) == 0.1
    fabric = pretend(1, [torch.tensor(1.0), torch.tensor(4.0)])
    assert average(fabric, 4.0) == 2.5


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)],
)
def test_the_optimiser_is_the_one_asked_for(name, kind) -> None:
    settings = TrainSettings(optimizer=name, weight_decay=0.25, learning_rate=0.5)
    optimizer = build_optimizer([torch.nn.Parameter(torch.ones(2))], settings)
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)
