"""How much each token of a vision transformer has to do with one answer."""

from collections.abc import Sequence

import torch
from torch import Tensor

from medlora.backbones.attention_maps import TokenLayout
from medlora.errors import BackboneError


def roll_relevance(
    maps: Sequence[Tensor], gradients: Sequence[Tensor], layout: TokenLayout
) -> Tensor:
    """Follow gradient-weighted attention from a network's answer back to its patches.

    In every block the positive part of attention times its gradient, averaged over the heads, says
    how much each token took from the others in favour of the answer; the identity stands for what
    passes beside attention.

    Args:
        maps: Attention probabilities of each block in order, (image, head, query, key); behind
            them perhaps those of a pooling that attends to the tokens.
        gradients: Of the answer with respect to each, of the same shapes.
        layout: How the tokens lie.

    Returns:
        Float32 (image, row, column) of patches, not negative.

    Raises:
        BackboneError: The network did not attend, or its tokens lie otherwise.

    Reference:
        Chefer, Gur and Wolf, Generic Attention-model Explainability for Interpreting Bi-Modal and
        Encoder-Decoder Transformers, ICCV 2021, equations 5 and 6.
    """
    if not maps:
        raise BackboneError(
            "This network attends without PyTorch's fused attention, so that it cannot be watched. "
            "Unset TIMM_FUSED_ATTN, or use --method integrated-gradients."
        )
    n_tokens = maps[0].shape[-1]
    relevance = torch.eye(n_tokens, device=maps[0].device).expand(len(maps[0]), -1, -1)
    row: Tensor | None = None
    for chances, gradient in zip(maps, gradients, strict=True):
        step = (chances.float() * gradient.float()).clamp(min=0).mean(dim=1)
        if step.shape[1] == n_tokens:
            relevance = relevance + step @ relevance
        else:
            # A pooling may leave the tokens out that stand for no patch.
            row = (step @ relevance[:, n_tokens - step.shape[2] :]).mean(dim=1)
    n_patches = layout.grid[0] * layout.grid[1]
    if n_tokens != layout.n_prefix + n_patches:
        raise BackboneError(
            f"The network has {n_tokens} tokens, not {layout.n_prefix} and one for each of "
            f"{layout.grid[0]} x {layout.grid[1]} patches. Use --method integrated-gradients."
        )
    if row is None and layout.pooling == "token":
        row = relevance[:, 0]
    elif row is None:
        row = relevance[:, layout.n_prefix :].mean(dim=1)
    return row[:, layout.n_prefix :].reshape(-1, *layout.grid)
