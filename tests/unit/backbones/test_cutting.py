import pytest
import torch
from torch import Tensor, nn

from medlora.backbones.cutting import BEHIND, NetworkCut, find_cut
from medlora.errors import BackboneError

CHAIN = ("body.0", "body.1", "body.2")
SHAPE = (3, 2, 2)


class Chained(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(12, 5)
        self.body = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 7), nn.Linear(7, 8))
        self.last = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.body(self.stem(images.flatten(1)).relu()))


def make_network() -> Chained:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Chained().requires_grad_(False)


@pytest.mark.parametrize("place", [*CHAIN, BEHIND])
def test_one_part_after_the_other_is_the_network(place: str) -> None:
    network = make_network()
    images = torch.rand(5, *SHAPE)
    names = [name for name, _ in network.named_modules()]
    cut = NetworkCut(network, place, CHAIN, SHAPE)
    hidden = cut.start(images)
    assert torch.equal(cut.finish(hidden, torch.float32), network(images))
    # What the first part is given has no more say.
    cut.start(torch.rand(2, *SHAPE))
    assert torch.equal(cut.finish(hidden, torch.float32), network(images))
    assert [name for name, _ in network.named_modules()] == names


def test_the_first_part_stops_where_it_is_cut_and_the_second_begins_there() -> None:
    network = make_network()
    seen: dict[str, list[int]] = {name: [] for name in ("stem", *CHAIN, "last")}
    for name, counts in seen.items():
        network.get_submodule(name).register_forward_hook(
            lambda _, inputs, answer, counts=counts: counts.append(len(answer))
        )
    cut = NetworkCut(network, "body.1", CHAIN, SHAPE)
    hidden = cut.start(torch.rand(5, *SHAPE))
    assert hidden.shape == (5, 6)
    assert seen == {"stem": [5], "body.0": [5], "body.1": [], "body.2": [], "last": []}
    cut.finish(hidden, torch.float32)
    assert seen == {"stem": [5, 1], "body.0": [5], "body.1": [5], "body.2": [5], "last": [5]}


def test_what_is_trained_behind_the_cut_gets_its_gradient() -> None:
    network = make_network()
    network.body[2].requires_grad_(True)
    images = torch.rand(5, *SHAPE)
    network(images).sum().backward()
    expected = network.body[2].weight.grad.clone()
    network.zero_grad()
    cut = NetworkCut(network, "body.2", CHAIN, SHAPE)
    cut.finish(cut.start(images).detach(), torch.float32).sum().backward()
    assert torch.equal(network.body[2].weight.grad, expected)


@pytest.mark.parametrize(
    ("trained", "place"),
    [("stem", None), ("body.0", "body.0"), ("body.2", "body.2"), ("last", "body.2")],
)
def test_a_network_is_cut_at_the_last_module_below_which_nothing_is_trained(trained, place) -> None:
    network = make_network()
    network.get_submodule(trained).weight.requires_grad_(True)
    network.last.bias.requires_grad_(True)
    assert find_cut(network, CHAIN) == place


def test_a_frozen_network_is_cut_behind_it() -> None:
    assert find_cut(make_network(), CHAIN) == BEHIND
    assert find_cut(make_network(), ()) == BEHIND
    network = make_network().requires_grad_(True)
    assert find_cut(network, ()) is None


def test_a_module_that_is_never_called_is_no_place_to_cut() -> None:
    network = make_network()
    network.spare = nn.Linear(2, 2)
    cut = NetworkCut(network, "spare", ("spare",), SHAPE)
    with pytest.raises(BackboneError, match="does not call 'spare'"):
        cut.start(torch.rand(1, *SHAPE))
