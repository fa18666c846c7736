"""Relevance that is rolled back through blocks, against the formula token by token."""

import numpy as np
import pytest
import torch

from medlora.backbones.attention_maps import TokenLayout
from medlora.errors import BackboneError
from medlora.evaluate.relevance import roll_relevance

N_HEADS, ROWS, COLUMNS = 2, 2, 3


def draw_maps(n_tokens: int, n_blocks: int = 3, n_queries: int | None = None, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, N_HEADS, n_queries or n_tokens, n_tokens)
    maps = [torch.rand(shape, generator=generator).softmax(-1) for _ in range(n_blocks)]
    return maps, [torch.randn(shape, generator=generator) for _ in maps]


def roll_slowly(maps, gradients, image):
    n_tokens = maps[0].shape[-1]
    relevance = np.eye(n_tokens)
    for chances, gradient in zip(maps, gradients, strict=True):
        step = np.zeros((n_tokens, n_tokens))
        for head in range(N_HEADS):
            product = (chances[image, head] * gradient[image, head]).double().numpy()
            step += np.maximum(product, 0) / N_HEADS
        fresh = relevance.copy()
        for query in range(n_tokens):
            for key in range(n_tokens):
                fresh[query] += step[query, key] * relevance[key]
        relevance = fresh
    return relevance


@pytest.mark.parametrize("n_prefix", [1, 3])
@pytest.mark.parametrize("pooling", ["token", "avg"])
def test_relevance_is_that_of_the_formula(n_prefix, pooling) -> None:
    maps, gradients = draw_maps(n_prefix + ROWS * COLUMNS)
    layout = TokenLayout(n_prefix, (ROWS, COLUMNS), pooling)
    found = roll_relevance(maps, gradients, layout)
    assert found.shape == (2, ROWS, COLUMNS)
    for image in range(2):
        slow = roll_slowly(maps, gradients, image)
        row = slow[0] if pooling == "token" else slow[n_prefix:].mean(axis=0)
        expected = row[n_prefix:].reshape(ROWS, COLUMNS)
        np.testing.assert_allclose(found[image].numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("n_prefix", [0, 1])
def test_a_pooling_that_attends_comes_last(n_prefix) -> None:
    n_patches = ROWS * COLUMNS
    maps, gradients = draw_maps(n_prefix + n_patches)
    pools, upstream = draw_maps(n_patches, 1, n_queries=1, seed=5)
    layout = TokenLayout(n_prefix, (ROWS, COLUMNS), "map")
    found = roll_relevance(maps + pools, gradients + upstream, layout)
    step = (pools[0][1] * upstream[0][1]).clamp(min=0).mean(dim=0).double().numpy()[0]
    row = step @ roll_slowly(maps, gradients, 1)[n_prefix:]
    np.testing.assert_allclose(found[1].flatten().numpy(), row[n_prefix:], rtol=1e-5)


def test_networks_that_cannot_be_followed_are_refused() -> None:
    maps, gradients = draw_maps(7)
    with pytest.raises(BackboneError, match="7 tokens, not 1 and one for each of 3 x 3 patches"):
        roll_relevance(maps, gradients, TokenLayout(1, (3, 3), "token"))
    with pytest.raises(BackboneError, match="TIMM_FUSED_ATTN"):
        roll_relevance([], [], TokenLayout(1, (3, 3), "token"))
