"""Attention that is computed openly answers as before, and its probabilities can be had."""

import pytest
import torch
from torch.nn import functional

from medlora.backbones.attention import FasterAttentionGradient
from medlora.backbones.attention_maps import AttentionMaps, TokenLayout, read_tokens
from medlora.backbones.spec import create_architecture
from medlora.errors import BackboneError


def draw_three(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn((2, 3, n, 8), generator=generator).to(dtype) for n in (5, 7, 7)]


MASKS = {
    "none": None,
    "boolean": torch.arange(35).reshape(5, 7) % 3 > 0,
    "added": torch.linspace(-2, 2, 35).reshape(5, 7),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("scale", [None, 0.7])
def test_the_answer_is_that_of_fused_attention(mask, scale) -> None:
    three = draw_three()
    expected = functional.scaled_dot_product_attention(*three, attn_mask=MASKS[mask], scale=scale)
    with AttentionMaps() as watched:
        found = functional.scaled_dot_product_attention(*three, attn_mask=MASKS[mask], scale=scale)
    torch.testing.assert_close(found, expected)
    (chances,) = watched.maps
    assert chances.shape == (2, 3, 5, 7)
    torch.testing.assert_close(chances.sum(-1), torch.ones(2, 3, 5))
    torch.testing.assert_close(chances @ three[2], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_probabilities_have_a_gradient_though_nothing_is_trained(dtype) -> None:
    three = draw_three(dtype)
    with AttentionMaps() as watched, FasterAttentionGradient():
        found = functional.scaled_dot_product_attention(*three)
    assert found.dtype == dtype
    upstream = torch.ones_like(found)
    (gradient,) = torch.autograd.grad(found, watched.maps, upstream)
    expected = upstream.float() @ three[2].float().transpose(-1, -2)
    torch.testing.assert_close(gradient, expected)


def test_the_faster_gradient_is_back_in_place_afterwards() -> None:
    three = [each.requires_grad_() for each in draw_three(torch.bfloat16)]
    names = []
    for context in (AttentionMaps(), torch.enable_grad()):
        with context, FasterAttentionGradient():
            mixed = functional.scaled_dot_product_attention(*three)
        names.append(type(mixed.grad_fn).__name__)
    assert names[0] != "_AttentionBackward"
    assert names[1] == "_AttentionBackward"


def test_without_gradients_none_is_recorded() -> None:
    with torch.no_grad(), AttentionMaps() as watched:
        functional.scaled_dot_product_attention(*draw_three())
    assert not watched.maps[0].requires_grad


def test_attention_that_cannot_be_watched_is_refused() -> None:
    three = draw_three()
    with AttentionMaps(), pytest.raises(BackboneError, match="cannot be watched"):
        functional.scaled_dot_product_attention(*three, is_causal=True)


def test_how_tokens_lie() -> None:
    network = create_architecture("test_vit")
    layout = read_tokens(network)
    assert layout.pooling == network.global_pool
    assert layout.n_prefix == network.num_prefix_tokens
    assert layout == TokenLayout(layout.n_prefix, tuple(network.patch_embed.grid_size), "token")
    with pytest.raises(BackboneError, match="ResNet does not tell how its tokens lie"):
        read_tokens(create_architecture("test_resnet"))
