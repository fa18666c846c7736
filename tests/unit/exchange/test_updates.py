from itertools import combinations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medlora.errors import TaskFileError
from medlora.exchange.updates import (
    LayerUpdate,
    check_fit,
    gather_groups,
    split_parts,
    spread_groups,
    unify_ranks,
)
from medlora.lora.linear import Pair, join_parts
from tests.unit.task.task_samples import draw_tensor

CHOICES = ["".join(parts) for n in (1, 2, 3) for parts in combinations("qkv", n)]


def draw_pair(rank: int, n_inputs: int, n_outputs: int, seed: int) -> Pair:
    return draw_tensor(rank, n_inputs, seed=seed), draw_tensor(n_outputs, rank, seed=seed + 50)


def multiply(update: LayerUpdate) -> Tensor:
    """The update of a layer's weight in float64, group by group."""
    rank = update.up.shape[1]
    groups = update.rank // rank
    down = update.down.double().reshape(groups, rank, -1)
    up = update.up.double().reshape(groups, -1, rank)
    return update.scale * torch.bmm(up, down)


@pytest.mark.parametrize("parts", CHOICES)
def test_joined_parts_have_the_product_of_each_and_come_apart_again(parts: str) -> None:
    pairs = {part: draw_pair(2, 5, 3, seed) for seed, part in enumerate(parts)}
    down, up = join_parts(dict(reversed(pairs.items())))
    assert down.shape == (2 * len(parts), 5)
    assert up.shape == (9, 2 * len(parts))
    product = up @ down
    for index, part in enumerate("qkv"):
        own = product[3 * index : 3 * index + 3]
        expected = pairs[part][1] @ pairs[part][0] if part in pairs else torch.zeros(3, 5)
        torch.testing.assert_close(own, expected)
    again = split_parts(LayerUpdate(down, up, 1.0), list(parts), "here")
    assert again.keys() == pairs.keys()
    for part, pair in pairs.items():
        assert all(one.equal(other) for one, other in zip(again[part], pair, strict=True))


@pytest.mark.parametrize(
    ("rank", "n_outputs", "parts"),
    [(3, 9, ("q", "v")), (2, 8, ("q", "v")), (2, 9, ("q", "x"))],
    ids=["rank", "outputs", "name"],
)
def test_an_update_that_has_no_such_parts_is_refused(rank, n_outputs, parts) -> None:
    update = LayerUpdate(*draw_pair(rank, 5, n_outputs, 0), 1.0)
    with pytest.raises(TaskFileError, match=rf"here: an update of rank {rank} .* has no parts q"):
        split_parts(update, parts, "here")


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_spread_groups_convolve_alike_and_come_together_again(groups: int) -> None:
    down, up = draw_tensor(3 * groups, 8 // groups, 3, 3), draw_tensor(8, 3, 1, 1, seed=1)
    images = draw_tensor(2, 8, 6, 6, seed=2)
    grouped = functional.conv2d(functional.conv2d(images, down, groups=groups), up, groups=groups)
    spread = spread_groups(down, groups)
    assert spread.shape == (3 * groups, 8, 3, 3)
    plain = functional.conv2d(functional.conv2d(images, spread), up, groups=groups)
    torch.testing.assert_close(plain, grouped)
    assert gather_groups(spread, groups, "here").equal(down)


def test_an_update_across_groups_is_refused() -> None:
    with pytest.raises(TaskFileError, match="here: its update mixes the 2 groups"):
        gather_groups(draw_tensor(4, 8, 3, 3), 2, "here")


def test_updates_of_one_rank_and_factor_stay_to_the_bit() -> None:
    updates = {name: LayerUpdate(*draw_pair(4, 5, 6, i), 0.75) for i, name in enumerate("ab")}
    rank, scale, pairs = unify_ranks(updates)
    assert (rank, scale) == (4, 0.75)
    for name, update in updates.items():
        assert pairs[name][0] is update.down
        assert pairs[name][1] is update.up


def test_unequal_ranks_and_factors_become_one_with_the_same_products() -> None:
    updates = {
        "wide": LayerUpdate(*draw_pair(5, 4, 6, 0), 0.5),
        "narrow": LayerUpdate(*draw_pair(2, 3, 3, 1), 0.5),
        "strong": LayerUpdate(*draw_pair(1, 7, 2, 2), 3.0),
        "kernel": LayerUpdate(draw_tensor(2, 4, 3, 3), draw_tensor(8, 2, 1, 1, seed=1), 0.1),
        "groups": LayerUpdate(draw_tensor(6, 2, 3, 3), draw_tensor(8, 3, 1, 1, seed=1), 0.5),
    }
    rank, scale, pairs = unify_ranks(updates)
    assert (rank, scale) == (5, 0.5)
    for name, update in updates.items():
        unified = LayerUpdate(*pairs[name], scale)
        assert unified.up.shape[1] == 5
        assert unified.rank // 5 == update.rank // update.up.shape[1]
        torch.testing.assert_close(multiply(unified), multiply(update), rtol=1e-6, atol=1e-7)


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 6)
        self.conv = nn.Conv2d(4, 6, 3, groups=2)
        self.wide = nn.Conv2d(4, 6, 3, dilation=2)
        self.mirrored = nn.Conv2d(4, 6, 3, padding_mode="reflect")
        self.norm = nn.LayerNorm(4)


def test_updates_that_fit_pass() -> None:
    check_fit(Layers(), "fc", LayerUpdate(draw_tensor(2, 4), draw_tensor(6, 2), 1.0), "here")
    kernel = LayerUpdate(draw_tensor(4, 4, 3, 3), draw_tensor(6, 2, 1, 1), 1.0)
    check_fit(Layers(), "conv", kernel, "here")


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("fc", r"shapes \(2, 5\) and \(6, 2\); this backbone needs \(2, 4\) and \(6, 2\)"),
        ("conv", r"this backbone needs \(2, 4, 3, 3\) and \(6, 1, 1, 1\)"),
        ("wide", r"a convolution with dilation \(2, 2\) and padding 'zeros'"),
        ("mirrored", r"dilation \(1, 1\) and padding 'reflect'"),
        ("norm", r"updates 'norm', which is no linear .* \(it is a LayerNorm\)"),
        ("fd", r"updates 'fd', which is no linear .* \(there is none\)"),
    ],
)
def test_updates_that_do_not_fit_are_refused(path: str, fault: str) -> None:
    update = LayerUpdate(draw_tensor(2, 5), draw_tensor(6, 2), 1.0)
    with pytest.raises(TaskFileError, match=fault):
        check_fit(Layers(), path, update, "here")
