"""A faster gradient of attention in bf16 on processors; the forward pass stays PyTorch's own."""

import math
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# The scores of some images at a time, in float32, should stay in a core's own cache.
_CACHE_BYTES = 4 * 2**20
IS_WATCHED: Final[ContextVar[bool]] = ContextVar("medlora_attention_is_watched", default=False)
"""Whether someone takes gradients of attention's probabilities, which are never formed here."""


@dataclass(frozen=True, eq=False)
class AttentionCall:
    """What PyTorch's attention is called with, under its names and with its defaults.

    Attributes:
        query: (..., query, width).
        key: (..., key, width).
        value: (..., key, value's width).
        attn_mask: True where a query may look, or what is added to the scores.
        dropout_p: Share of probabilities that are dropped.
        is_causal: Whether a query looks at no later key.
        scale: Factor of the scores; None for `factor`'s.
        enable_gqa: Whether several heads of the query share one of the key.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False

    @property
    def factor(self) -> float:
        """Factor of the scores."""
        return 1 / math.sqrt(self.query.shape[-1]) if self.scale is None else self.scale

    @property
    def is_plain(self) -> bool:
        """Whether it is softmax(factor * query @ key.T) @ value, with a mask or without."""
        return self.dropout_p == 0 and not self.is_causal and not self.enable_gqa


def read_call(
    func: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any] | None
) -> AttentionCall | None:
    """What a function is called with, if it is PyTorch's attention."""
    if func is not functional.scaled_dot_product_attention:
        return None
    return AttentionCall(*args, **(options or {}))


class FasterAttentionGradient(TorchFunctionMode):
    """Within this context, plain attention in bf16 on a processor gets another backward pass.

    PyTorch's own takes three to four times as long as its forward pass, which is a seventh of
    a training step of ViT-B/16. This one multiplies whole matrices instead of small tiles and
    is at least as exact: scores, probabilities and their gradients are float32. The forward
    pass is PyTorch's, bit for bit. Attention with a mask, dropout or causality, in another
    type or on another device, is left alone, as is everything that needs no gradient.

    Example:
        >>> query = torch.randn(1, 2, 5, 8, dtype=torch.bfloat16, requires_grad=True)
        >>> with FasterAttentionGradient():
        ...     mixed = functional.scaled_dot_product_attention(query, query, query)
        >>> torch.equal(mixed, functional.scaled_dot_product_attention(query, query, query))
        True
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Put the other backward pass in place where it applies."""
        call = read_call(func, args, kwargs)
        if call is not None and _applies(call):
            return _Attention.apply(call.query, call.key, call.value, call.scale, call.factor)
        return func(*args, **(kwargs or {}))


class _Attention(torch.autograd.Function):
    """`softmax(scale * query @ key.T) @ value`, keeping nothing but these three and the result."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float | None, factor: float
    ) -> Tensor:
        mixed = functional.scaled_dot_product_attention(query, key, value, scale=scale)
        ctx.save_for_backward(query, key, value, mixed)
        ctx.factor = factor
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, mixed = ctx.saved_tensors
        n_images, n_heads, n_queries, _ = query.shape
        image_bytes = n_heads * n_queries * key.shape[2] * torch.float32.itemsize
        n_at_once = max(_CACHE_BYTES // max(image_bytes, 1), 1)
        # Tokens before heads in memory, as PyTorch's own are: what comes next reads them so.
        gradients = [
            torch.empty_like(tensor.transpose(1, 2), memory_format=torch.contiguous_format)
            for tensor in (query, key, value)
        ]
        for start in range(0, n_images, n_at_once):
            some = slice(start, start + n_at_once)
            pieces = _differentiate(
                query[some], key[some], value[some], mixed[some], gradient[some], scale=ctx.factor
            )
            for whole, piece in zip(gradients, pieces, strict=True):
                whole[some] = piece.transpose(1, 2)
        return (*(tensor.transpose(1, 2) for tensor in gradients), None, None)


def _applies(call: AttentionCall) -> bool:
    """Whether this is plain attention in bf16 on a processor that has to be differentiated."""
    tensors = (call.query, call.key, call.value)
    return (
        call.is_plain
        and call.attn_mask is None
        and not IS_WATCHED.get()
        and torch.is_grad_enabled()
        and any(tensor.requires_grad for tensor in tensors)
        and all(
            tensor.ndim == 4 and tensor.dtype == torch.bfloat16 and tensor.device.type == "cpu"
            for tensor in tensors
        )
        and call.query.shape[:2] == call.key.shape[:2] == call.value.shape[:2]
    )


def _differentiate(
    query: Tensor, key: Tensor, value: Tensor, mixed: Tensor, gradient: Tensor, *, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value of a few images, each (image, head, token, width).

    Reference:
        Dao et al., FlashAttention, NeurIPS 2022, appendix B.2, without tiles.
    """
    leading = query.shape[:2]
    query, key, value, mixed, gradient = (
        tensor.flatten(0, 1) for tensor in (query, key, value, mixed, gradient)
    )
    scores = torch.bmm(query.float().mul_(scale), key.float().transpose(1, 2))
    chances = torch.softmax(scores, dim=-1)
    to_value = torch.bmm(chances.to(query.dtype).transpose(1, 2), gradient)
    # The difference is taken in float32: its two sides may agree in nearly all their digits.
    exact = gradient.float()
    common = (exact * mixed).sum(-1, keepdim=True)
    to_scores = torch.bmm(exact, value.float().transpose(1, 2), out=scores)
    rounded = to_scores.sub_(common).mul_(chances).mul_(scale).to(query.dtype)
    to_query, to_key = torch.bmm(rounded, key), torch.bmm(rounded.transpose(1, 2), query)
    return (
        to_query.unflatten(0, leading),
        to_key.unflatten(0, leading),
        to_value.unflatten(0, leading),
    )
