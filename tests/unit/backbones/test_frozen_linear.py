"""Frozen linear layers answer and differentiate as PyTorch's own do."""

import copy

import pytest
import torch
from torch import nn

from medlora.backbones import linear
from medlora.backbones.linear import FrozenLinear, freeze_linears


def make_pair(dtype: torch.dtype, *, bias: bool = True) -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    plain = nn.Linear(24, 40, bias=bias).to(dtype).requires_grad_(False)
    frozen = copy.deepcopy(plain)
    freeze_linears(frozen)
    return plain, frozen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(24,), (7, 24), (2, 5, 24), (2, 3, 4, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_answers_are_the_same_bit_for_bit(dtype, shape, bias):
    plain, frozen = make_pair(dtype, bias=bias)
    inputs = torch.randn(shape).to(dtype)
    assert isinstance(frozen, FrozenLinear)
    assert torch.equal(plain(inputs), frozen(inputs))


def test_a_strided_input_is_read_rightly():
    plain, frozen = make_pair(torch.bfloat16)
    inputs = torch.randn(24, 6).bfloat16().t()
    assert torch.equal(plain(inputs), frozen(inputs))


def test_the_gradient_of_the_input_is_the_same():
    plain, frozen = make_pair(torch.bfloat16)
    inputs = torch.randn(3, 5, 24).bfloat16()
    weights = torch.randn(3, 5, 40).bfloat16()
    gradients = []
    for layer in (plain, frozen):
        leaf = inputs.clone().requires_grad_()
        (layer(leaf) * weights).sum().backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)
    assert frozen.weight.grad is None and frozen.bias.grad is None


@pytest.mark.parametrize("kept", [[0], [0, 4, 9], [0, 1, 2, 3, 4, 5, 6, 7], []])
def test_rows_without_gradient_get_none(kept):
    """As after the last attention of a network that answers with its class token."""
    plain, frozen = make_pair(torch.bfloat16)
    gradient = torch.zeros(2, 5, 40).bfloat16()
    gradient.view(10, 40)[kept] = torch.randn(len(kept), 40).bfloat16()
    gradients = []
    for layer in (plain, frozen):
        leaf = torch.randn(2, 5, 24).bfloat16().requires_grad_()
        layer(leaf).backward(gradient)
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, rtol=1e-2, atol=0)
    assert gradients[1].view(10, 24).any(dim=1).nonzero().flatten().tolist() == kept


def test_a_gradient_that_is_no_number_is_not_taken_for_zero():
    _, frozen = make_pair(torch.bfloat16)
    leaf = torch.randn(4, 24).bfloat16().requires_grad_()
    gradient = torch.zeros(4, 40).bfloat16()
    gradient[1, 3] = torch.nan
    frozen(leaf).backward(gradient)
    assert leaf.grad.isnan().any(dim=1).tolist() == [False, True, False, False]


def test_weights_are_shared_and_frozen():
    network = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2))
    pointers = [parameter.data_ptr() for parameter in network.parameters()]
    names = list(network.state_dict())
    freeze_linears(network)
    assert [parameter.data_ptr() for parameter in network.parameters()] == pointers
    assert list(network.state_dict()) == names
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_subclasses_with_a_forward_of_their_own_are_left_alone():
    class Doubled(nn.Linear):
        def forward(self, inputs):
            return 2 * super().forward(inputs)

    network = nn.Sequential(Doubled(4, 4))
    freeze_linears(network)
    assert type(network[0]) is Doubled


def test_it_falls_back_where_pytorch_lacks_the_operation(monkeypatch):
    plain, frozen = make_pair(torch.bfloat16)
    monkeypatch.setattr(linear, "_HAS_FUSED_PRODUCT", False)
    monkeypatch.setattr(linear._FusedProduct, "apply", None)
    inputs = torch.randn(7, 24).bfloat16()
    assert torch.equal(plain(inputs), frozen(inputs))
