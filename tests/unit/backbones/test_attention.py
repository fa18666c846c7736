"""Attention with another backward pass: the same bits forward, at least as exact backward."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medlora.backbones import attention
from medlora.backbones.attention import FasterAttentionGradient

SHAPE = (3, 2, 7, 16)


def draw(*shape: int, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(dtype).requires_grad_()


def draw_three(n_keys: int = 7, dtype: torch.dtype = torch.bfloat16) -> tuple[Tensor, ...]:
    *leading, n_queries, width = SHAPE
    sizes = (n_queries, n_keys, n_keys)
    return tuple(draw(*leading, n, width, dtype=dtype, seed=i) for i, n in enumerate(sizes))


def differentiate_exactly(tensors: tuple[Tensor, ...], upstream: Tensor, scale: float) -> Any:
    """Gradients in float64, by automatic differentiation of the formula."""
    query, key, value = (tensor.detach().double().requires_grad_() for tensor in tensors)
    mixed = torch.softmax(scale * query @ key.transpose(-1, -2), dim=-1) @ value
    return torch.autograd.grad(mixed, (query, key, value), upstream.double())


def is_replaced(mixed: Tensor) -> bool:
    return type(mixed.grad_fn).__name__ == "_AttentionBackward"


@pytest.mark.parametrize("n_keys", [7, 5])
@pytest.mark.parametrize("scale", [None, 0.7])
@pytest.mark.parametrize("cache_bytes", [1, 2 * 4 * 2 * 7 * 7, 2**22])
def test_the_gradient_is_that_of_the_formula(
    n_keys: int, scale: float | None, cache_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_CACHE_BYTES", cache_bytes)
    tensors = draw_three(n_keys)
    upstream = draw(*SHAPE, seed=9).detach()
    with FasterAttentionGradient():
        mixed = functional.scaled_dot_product_attention(*tensors, scale=scale)
    assert is_replaced(mixed)
    found = torch.autograd.grad(mixed, tensors, upstream)
    expected = differentiate_exactly(tensors, upstream, scale or SHAPE[-1] ** -0.5)
    for ours, exact in zip(found, expected, strict=True):
        assert ours.dtype == torch.bfloat16
        assert float((ours - exact).norm() / exact.norm()) < 0.006


def test_it_is_as_exact_as_pytorch_where_differences_are_small() -> None:
    """All values nearly alike: the gradient of the scores is a difference of equal numbers."""
    query, key, value = draw_three()
    value = (3 + 0.05 * value).detach().requires_grad_()
    upstream = draw(*SHAPE, seed=9).detach()
    with FasterAttentionGradient():
        ours = functional.scaled_dot_product_attention(query, key, value)
    theirs = functional.scaled_dot_product_attention(query, key, value)
    exact = differentiate_exactly((query, key, value), upstream, SHAPE[-1] ** -0.5)[0]
    errors = [
        float((torch.autograd.grad(mixed, query, upstream)[0] - exact).norm() / exact.norm())
        for mixed in (ours, theirs)
    ]
    assert errors[0] < 1.2 * errors[1]


def test_forward_it_is_pytorch_bit_for_bit() -> None:
    packed = draw(4, 33, 3 * 4 * 8)
    query, key, value = packed.view(4, 33, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
    with FasterAttentionGradient():
        mixed = functional.scaled_dot_product_attention(query, key, value)
    assert is_replaced(mixed)
    assert torch.equal(mixed, functional.scaled_dot_product_attention(query, key, value))


def test_gradients_lie_in_memory_as_tokens_before_heads() -> None:
    tensors = draw_three()
    with FasterAttentionGradient():
        mixed = functional.scaled_dot_product_attention(*tensors)
    for gradient in torch.autograd.grad(mixed.sum(), tensors):
        assert gradient.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize(
    "options",
    [
        {"attn_mask": torch.zeros(7, 7, dtype=torch.bfloat16)},
        {"dropout_p": 0.5},
        {"is_causal": True},
    ],
    ids=["mask", "dropout", "causal"],
)
def test_other_attention_is_left_alone(options: dict[str, Any]) -> None:
    with FasterAttentionGradient():
        mixed = functional.scaled_dot_product_attention(*draw_three(), **options)
    assert not is_replaced(mixed)


def test_float32_is_left_alone() -> None:
    with FasterAttentionGradient():
        mixed = functional.scaled_dot_product_attention(*draw_three(dtype=torch.float32))
    assert not is_replaced(mixed)


def test_what_needs_no_gradient_is_left_alone() -> None:
    tensors = draw_three()
    with FasterAttentionGradient(), torch.no_grad():
        assert functional.scaled_dot_product_attention(*tensors).grad_fn is None
    with FasterAttentionGradient():
        mixed = functional.scaled_dot_product_attention(*(t.detach() for t in tensors))
    assert mixed.grad_fn is None


def test_outside_the_context_nothing_is_replaced() -> None:
    tensors = draw_three()
    with FasterAttentionGradient():
        pass
    assert not is_replaced(functional.scaled_dot_product_attention(*tensors))
