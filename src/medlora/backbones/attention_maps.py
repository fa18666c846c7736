"""What a vision transformer's attention looks at, for whoever explains its answers."""

import math
from collections.abc import Callable, Iterable, Mapping
from contextvars import Token
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from medlora.backbones.attention import IS_WATCHED, AttentionCall, read_call
from medlora.errors import BackboneError

_POOLINGS = ("token", "avg", "map")


class AttentionMaps(TorchFunctionMode):
    """Within this context attention is computed openly, and its probabilities are kept.

    PyTorch's fused attention never forms them. Here they are formed in float32, so that a
    gradient can be taken with respect to them; the answer differs from the fused one by rounding
    alone.

    Attributes:
        maps: Probabilities of each call in order, float32 (image, head, query, key). Where a
            gradient is being recorded, each requires one, also in a frozen network.

    Example:
        >>> from torch.nn import functional
        >>> query = torch.randn(1, 2, 5, 8)
        >>> with AttentionMaps() as watched:
        ...     mixed = functional.scaled_dot_product_attention(query, query, query)
        >>> [tuple(each.shape) for each in watched.maps]
        [(1, 2, 5, 5)]
    """

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[Tensor] = []
        self._token: Token[bool] | None = None

    def __enter__(self) -> "AttentionMaps":
        """Begin to watch."""
        super().__enter__()  # type: ignore[no-untyped-call]
        self._token = IS_WATCHED.set(True)
        return self

    def __exit__(self, *fault: Any) -> None:
        """Leave attention as it was."""
        if self._token is not None:
            IS_WATCHED.reset(self._token)
        super().__exit__(*fault)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute attention step by step, and everything else as it is."""
        call = read_call(func, args, kwargs)
        return func(*args, **(kwargs or {})) if call is None else self._attend(call)

    def _attend(self, call: AttentionCall) -> Tensor:
        if not call.is_plain:
            raise BackboneError(
                "This network's attention is causal, grouped or has dropout, and cannot be "
                "watched. Explain its answers with --method integrated-gradients."
            )
        scores = (call.query.float() * call.factor) @ call.key.float().transpose(-1, -2)
        mask = call.attn_mask
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, -math.inf)
        elif mask is not None:
            scores = scores + mask
        chances = torch.softmax(scores, dim=-1)
        if torch.is_grad_enabled() and not chances.requires_grad:
            chances.requires_grad_()
        self.maps.append(chances)
        return (chances @ call.value.float()).to(call.value.dtype)


@dataclass(frozen=True)
class TokenLayout:
    """How a vision transformer's tokens lie, and which of them its answer is read from.

    Attributes:
        n_prefix: Tokens before those of the patches: the class token, registers.
        grid: Rows and columns of patches.
        pooling: `token` reads the first token, `avg` the mean of the patches, `map` attends to
            the tokens once more.
    """

    n_prefix: int
    grid: tuple[int, int]
    pooling: str


def read_tokens(network: nn.Module) -> TokenLayout:
    """How the tokens of a timm vision transformer lie.

    Args:
        network: The network, with or without an adapter on it.

    Raises:
        BackboneError: It is no vision transformer, or reads its answer in another way.
    """
    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    n_prefix = getattr(network, "num_prefix_tokens", None)
    pooling = getattr(network, "global_pool", None)
    if grid is None or not isinstance(n_prefix, int) or pooling not in _POOLINGS:
        raise BackboneError(
            f"{type(network).__name__} does not tell how its tokens lie, so that its attention "
            "cannot be laid over an image. Use --method integrated-gradients."
        )
    return TokenLayout(n_prefix, (int(grid[0]), int(grid[1])), str(pooling))
