"""An adapted linear layer as MeLo publishes it: the update as a second path, part by part."""

from torch import Tensor, nn
from torch.nn import functional

from medlora.lora.attach import find_adapters
from medlora.lora.frozen import FrozenLayer
from medlora.lora.linear import LoRALinear


class PublishedLinear(FrozenLayer):
    """`W x + b`, and to the outputs of each adapted part `scale * B A x`, with A and B held apart.

    Args:
        layer: Gives the frozen layer, the matrices and the scale.

    Reference:
        Zhu et al., MeLo: Low-rank Adaptation is Better than Fine-tuning for Medical Image
        Diagnosis, 2023, section 2.
    """

    def __init__(self, layer: LoRALinear) -> None:
        super().__init__()
        self.base = layer.base
        self.lora_A = layer.lora_A
        self.lora_B = layer.lora_B
        self.scale = layer.scale
        self.columns = layer.columns

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            inputs: Float (..., input).

        Returns:
            Float (..., output).
        """
        outputs: Tensor = self.base(inputs)
        for part, columns in self.columns.items():
            hidden = functional.linear(inputs, self.lora_A[part])
            outputs[..., columns] += functional.linear(hidden, self.lora_B[part]) * self.scale
        return outputs


def publish_layers(network: nn.Module) -> None:
    """Replace the adapted linear layers of a network; they keep their matrices."""
    for name, layer in find_adapters(network).items():
        if isinstance(layer, LoRALinear):
            network.set_submodule(name, PublishedLinear(layer))
