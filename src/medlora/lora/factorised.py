"""A fully connected layer whose weight is a product W = U V of two thin matrices, and nothing else.

An adapter keeps a pretrained W and adds a low-rank product to it. Here there is no W: what the
layer knows is in U, V and a bias of its own, all of them trained from scratch.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from medlora.errors import TargetError

DEFAULT_GAIN = 1 / 8
# Of a layer whose inputs are normalised: their scale is known, and He's variance is meant for it.
NORMALISED_GAIN = 0.7
_SMALLEST_MEAN_SQUARE = 1e-6


class FactorisedLayer(nn.Module):
    """`x U V + bias`, in the place of a convolution whose kernel covers its whole input.

    Where feature maps are larger than the kernel, the layer slides over them as the convolution
    would.

    The start is random and well conditioned. W = U V has the variance `gain**2 * 2 / inputs`,
    where 2 / inputs is what He et al. derive to keep the scale of activations before a ReLU. U
    and V share it so that both have the same norm: a step in either of them then moves W alike,
    whatever the rank and the widths. The gain is 1/8 by default because a VGG's features are not
    normalised: on brain MRI the values that enter the first of these layers have a root mean
    square of 7.8 and reach 290. With gain 1, and V left at the scale of a layer of its own, the
    loss starts at 5.0, not at log(4) = 1.39, and rises to 59 at a learning rate of 0.001; so it
    never rises above 1.9.

    Args:
        layer: The layer whose place this one takes. Its shape counts and its values do not, so
            it may be on the meta device.
        rank: Columns of U and rows of V, at least 1.
        gain: Factor on the standard deviation of W's entries at the start, above 0.
        dropout: Probability of dropping an input while training, [0, 1).
        normalises: Whether each image's inputs are divided by their root mean square. A VGG's
            features grow with the contrast of the image, which differs from scanner to scanner
            and says nothing of a disease; so does what follows, and the loss with it.

    Raises:
        TargetError: The layer does more than multiply its inputs by one matrix.

    Attributes:
        U: Float32 (input, rank); inputs run over channel, height and width, in that order.
        V: Float32 (rank, output).
        bias: Float32 (output,), zero at the start.
        shift: Float32 (channel, 1, 1), subtracted from the inputs; None where nothing is.
        factor: Float32 (channel, 1, 1) that they are then multiplied by; None likewise.

    Reference:
        He et al., Delving Deep into Rectifiers, ICCV 2015, section 2.2.
    """

    shift: Tensor | None
    factor: Tensor | None

    def __init__(
        self,
        layer: nn.Conv2d,
        *,
        rank: int,
        gain: float = DEFAULT_GAIN,
        dropout: float = 0.0,
        normalises: bool = False,
    ) -> None:
        super().__init__()
        _check_layer(layer)
        n_outputs, *shape = layer.weight.shape
        self.shape = (shape[0], shape[1], shape[2])
        self.rank = rank
        self.normalises = normalises
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        n_inputs = layer.weight[0].numel()
        # The norms' squares are n_inputs * rank * var(U) and rank * n_outputs * var(V).
        scale = gain**0.5 * (2 / rank) ** 0.25
        self.U = nn.Parameter(
            torch.randn(n_inputs, rank) * (scale * n_outputs**0.25 / n_inputs**0.5)
        )
        self.V = nn.Parameter(torch.randn(rank, n_outputs) * (scale / n_outputs**0.25))
        self.bias = nn.Parameter(torch.zeros(n_outputs))
        self.register_buffer("shift", None, persistent=False)
        self.register_buffer("factor", None, persistent=False)

    def standardise(self, mean: Tensor, deviation: Tensor) -> None:
        """Shift and scale the channels of all inputs from now on, until `fold`.

        Args:
            mean: Float (channel,), subtracted from each.
            deviation: Float (channel,), above 0, that each is divided by.
        """
        self.shift = mean.to(self.U)[:, None, None]
        self.factor = 1 / deviation.to(self.U)[:, None, None]

    @torch.no_grad()
    def fold(self) -> None:
        """Take shift and scale over into U and the bias: a plain layer that answers alike."""
        weight, bias = self._fold()
        self.U.copy_(weight)
        self.bias.copy_(bias)
        self.shift = self.factor = None

    def _fold(self) -> tuple[Tensor, Tensor]:
        """U and the bias of the plain layer."""
        if self.shift is None or self.factor is None:
            return self.U, self.bias
        channels, height, width = self.shape
        places = (channels, height * width, self.rank)
        weight = (self.U.reshape(places) * self.factor.reshape(-1, 1, 1)).reshape(self.U.shape)
        shift = self.shift.expand(self.shape).reshape(-1)
        # In float64: means that are large beside the deviations would leave little of it.
        moved = shift.double() @ weight.double() @ self.V.double()
        return weight, self.bias - moved.to(self.bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            maps: Float (batch, channel, height, width), at least as high and wide as the kernel.

        Returns:
            Float32 (batch, output, 1, 1), or as many places as the kernel has on the maps.
        """
        # Type and order in one copy: flattening a network's own order would be a second one.
        maps = maps.to(self.U.dtype, memory_format=torch.contiguous_format)
        if self.normalises:
            mean_square = maps.square().mean(dim=(1, 2, 3), keepdim=True)
            maps = maps * mean_square.clamp(min=_SMALLEST_MEAN_SQUARE).rsqrt()
        if self.shift is not None and self.factor is not None:
            maps = (maps - self.shift) * self.factor
        maps = self.dropout(maps)
        if maps.shape[1:] == self.shape:
            outputs = maps.flatten(1) @ self.U @ self.V + self.bias
            return outputs[:, :, None, None]
        hidden = functional.conv2d(maps, self.U.t().reshape(self.rank, *self.shape))
        return functional.conv2d(hidden, self.V.t()[:, :, None, None], self.bias)

    def merged(self) -> nn.Conv2d:
        """A plain convolution with the product as its kernel, in float32.

        Raises:
            TargetError: The layer normalises its inputs, which no convolution does.
        """
        if self.normalises:
            raise TargetError(
                "A factorised layer that normalises its inputs has no plain layer that answers "
                "alike. Keep the task as a task file, or write it with --onnx."
            )
        channels, height, width = self.shape
        with torch.device("meta"):
            layer = nn.Conv2d(channels, self.bias.numel(), (height, width))
        with torch.no_grad():
            weight, bias = self._fold()
            kernel = (weight @ self.V).t().reshape(layer.weight.shape).contiguous()
        layer.weight = nn.Parameter(kernel, requires_grad=False)
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
        return layer


def attach_factorised(
    model: nn.Module,
    layers: Mapping[str, tuple[int, int]],
    *,
    rank: int,
    gain: float = DEFAULT_GAIN,
    dropout: float = 0.0,
    normalised: Collection[str] = (),
) -> dict[str, FactorisedLayer]:
    """Put factorised layers in the places of some layers of `model`.

    Args:
        model: The model; it is changed.
        layers: Layer name to its numbers of inputs and outputs.
        rank: Rank of every product.
        gain: Factor on the start of every product whose inputs are not normalised.
        dropout: Dropout on the inputs, [0, 1).
        normalised: Names of the layers that normalise their inputs.

    Returns:
        Layer name to the layer that now stands there.

    Raises:
        TargetError: A name is not a layer of the model, or that layer has another shape or is
            of another kind.
    """
    placed: dict[str, FactorisedLayer] = {}
    for name, shape in layers.items():
        layer = dict(model.named_modules()).get(name)
        if not isinstance(layer, nn.Conv2d):
            raise TargetError(
                f"The model has no fully connected layer {name!r} to be factorised. Use "
                "the backbone that the task's card names."
            )
        own = (layer.weight[0].numel(), layer.weight.shape[0])
        if own != tuple(shape):
            raise TargetError(
                f"Layer {name!r} maps {own[0]} values to {own[1]}, not {shape[0]} to {shape[1]}. "
                "Use the backbone that the task's card names."
            )
        normalises = name in normalised
        placed[name] = FactorisedLayer(
            layer,
            rank=rank,
            gain=NORMALISED_GAIN if normalises else gain,
            dropout=dropout,
            normalises=normalises,
        )
    for name, new in placed.items():
        model.set_submodule(name, new)
    return placed


def find_factorised(model: nn.Module) -> dict[str, FactorisedLayer]:
    """The factorised layers of a model by name, in its order."""
    return {
        name: layer for name, layer in model.named_modules() if isinstance(layer, FactorisedLayer)
    }


def collect_factors(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable `<layer>.U`, `<layer>.V` and `<layer>.bias` of every factorised layer."""
    return {
        f"{name}.{kind}": getattr(layer, kind)
        for name, layer in find_factorised(model).items()
        for kind in ("U", "V", "bias")
    }


def merge_factorised(model: nn.Module) -> None:
    """Put plain layers in the places of a model's factorised layers."""
    for name, layer in find_factorised(model).items():
        model.set_submodule(name, layer.merged())


def _check_layer(layer: nn.Conv2d) -> None:
    plain = (layer.stride, layer.padding, layer.dilation, layer.groups) == (
        (1, 1),
        (0, 0),
        (1, 1),
        1,
    )
    if type(layer) is not nn.Conv2d or not plain or layer.bias is None:
        raise TargetError(
            f"A {type(layer).__name__} with stride {layer.stride}, padding {layer.padding} and "
            f"{layer.groups} group(s) is no fully connected layer, so it cannot be factorised. "
            "Use --method lora for it."
        )
