"""Frozen linear layers in bf16 on processors, with the bias added inside the product."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class FrozenLinear(nn.Linear):
    """A linear layer that is never trained; it answers as `nn.Linear` does, bit for bit.

    For bf16 on a processor `nn.Linear` first writes the bias to every row of its output and
    then adds the product to it, a pass over memory that costs up to half of the time in a
    narrow network. oneDNN's own layer adds the bias on the way; where PyTorch offers it, it
    is used.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            inputs: Float (..., input).

        Returns:
            Float (..., output).
        """
        return self.multiply(inputs, self.weight)

    def multiply(self, inputs: Tensor, weight: Tensor) -> Tensor:
        """Apply the layer with other weights, and its own bias.

        Args:
            inputs: Float (..., input).
            weight: Float (output, input), frozen.

        Returns:
            Float (..., output).
        """
        if self.bias is None or not _applies(inputs, weight):
            return nn.functional.linear(inputs, weight, self.bias)
        product: Tensor = _FusedProduct.apply(inputs, weight, self.bias)
        return product


class _FusedProduct(torch.autograd.Function):
    """`inputs @ weight.T + bias` with a gradient for the inputs alone."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        result: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _multiply_rows(gradient, weight), None, None


def _multiply_rows(gradient: Tensor, weight: Tensor) -> Tensor:
    """`gradient @ weight`, without the work for rows that are zero where most of them are.

    A network that answers with its class token gives no gradient to the other tokens after its
    last attention, which would be products of zeros in three quarters of a block.
    """
    rows = gradient.reshape(-1, gradient.shape[-1])
    # One row tells whether it is worth looking at all of them.
    if len(rows) == 0 or bool(rows[-1].any()):
        return gradient @ weight
    (chosen,) = rows.any(dim=1).nonzero(as_tuple=True)
    if 2 * len(chosen) > len(rows):
        return gradient @ weight
    product = rows.new_zeros(len(rows), weight.shape[1])
    product[chosen] = rows[chosen] @ weight
    return product.view(*gradient.shape[:-1], weight.shape[1])


def freeze_linears(network: nn.Module) -> None:
    """Turn the plain linear layers of a network into frozen ones, in place.

    Args:
        network: A network of one's own; its weights stay the same tensors, frozen.
    """
    for module in network.modules():
        if type(module) is nn.Linear:
            module.requires_grad_(False)
            # The same parameters under another forward: nothing has to be copied.
            module.__class__ = FrozenLinear


def _applies(inputs: Tensor, weight: Tensor) -> bool:
    return (
        inputs.dtype == torch.bfloat16
        and weight.dtype == torch.bfloat16
        and inputs.device.type == "cpu"
        and not weight.requires_grad
        and _HAS_FUSED_PRODUCT
    )


def _find_fused_product() -> bool:
    """Whether this PyTorch has the operation, and this processor bf16.

    Neither the operation nor the question is part of PyTorch's public interface, so both are
    looked for, and nothing but time is lost without them.
    """
    if not torch.backends.mkldnn.is_available() or not hasattr(
        torch.ops.mkldnn, "_linear_pointwise"
    ):
        return False
    ask = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(ask and ask())


_HAS_FUSED_PRODUCT = _find_fused_product()
