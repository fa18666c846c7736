import weakref

import torch
from torch import nn

from medlora.backbones.copying import borrow_weights, copy_network


def make_network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    network.register_buffer("index", torch.arange(3), persistent=False)
    return network.eval()


def addresses(network: nn.Module) -> list[int]:
    tensors = [*network.parameters(), *network.buffers()]
    return [tensor.data_ptr() for tensor in tensors]


def test_a_shared_copy_uses_the_same_memory_and_is_frozen() -> None:
    network = make_network()
    twin = copy_network(network, torch.float32, share=True)
    assert addresses(twin) == addresses(network)
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_modules_of_a_copy_can_be_replaced() -> None:
    network = make_network()
    linear = network[3]
    twin = copy_network(network, torch.float32, share=True)
    twin[3] = nn.Identity()
    assert network[3] is linear


def test_a_copy_of_another_type_leaves_the_original_as_it_was() -> None:
    network = make_network()
    twin = copy_network(network, torch.bfloat16, share=True)
    assert twin[0].weight.equal(network[0].weight.bfloat16())
    assert {p.dtype for p in twin.parameters()} == {torch.bfloat16}
    assert twin[1].running_mean.dtype == torch.bfloat16
    assert twin[1].num_batches_tracked.dtype == torch.int64
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert network[1].running_mean.dtype == torch.float32
    images = torch.randn(2, 3, 3, 3, dtype=torch.bfloat16)
    assert twin(images).equal(make_network().bfloat16()(images))


def test_an_unshared_copy_has_tensors_of_its_own() -> None:
    network = make_network()
    network[0].requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    twin = copy_network(network, torch.float32, share=False)
    assert not set(addresses(twin)) & set(addresses(network))
    assert [p.requires_grad for p in twin.parameters()] == [
        p.requires_grad for p in network.parameters()
    ]
    with torch.no_grad():
        for tensor in [*twin.parameters(), *twin.buffers()]:
            tensor.add_(1)
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    assert network.index.equal(torch.arange(3))


def test_tensors_that_are_used_twice_stay_one() -> None:
    network = make_network()
    network.append(nn.Linear(2, 4))
    network[4].weight = network[3].weight
    for share in (True, False):
        twin = copy_network(network, torch.float32, share=share)
        assert twin[4].weight is twin[3].weight


def test_a_network_without_memory_can_be_copied() -> None:
    with torch.device("meta"):
        network = nn.Linear(10**6, 10**6)
    twin = copy_network(network, torch.bfloat16, share=True)
    assert twin.weight.is_meta
    assert twin.weight.dtype == torch.bfloat16


def test_a_network_can_go_whose_weights_are_held_in_another_type() -> None:
    network = make_network()
    twin = copy_network(network, torch.bfloat16, share=True)
    slim = borrow_weights(network, twin)
    for number in (0, 3):
        assert slim[number].weight is twin[number].weight
        assert slim[number].bias is network[number].bias
    assert slim[1].weight is network[1].weight
    assert slim[1].running_mean is network[1].running_mean
    slim[3] = nn.Identity()
    assert isinstance(network[3], nn.Linear)
    kept = weakref.ref(network[3].weight)
    del network
    assert kept() is None


def test_a_layer_that_computes_its_weight_keeps_it() -> None:
    network = nn.Sequential(ScaledLinear(3, 2))
    twin = copy_network(network, torch.bfloat16, share=True)
    assert borrow_weights(network, twin)[0].weight is network[0].weight


class ScaledLinear(nn.Linear):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs @ (self.weight / self.weight.norm()).T
