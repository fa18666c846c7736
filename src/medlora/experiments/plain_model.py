"""A network and a head without any adapter: the fine-tuned model of one task."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional

from medlora.backbones.linear import freeze_linears
from medlora.backbones.spec import create_architecture
from medlora.data.image import normalise_batch
from medlora.experiments.deployment_files import name_network_tensor
from medlora.preprocessing import Preprocessing
from medlora.task.layout import HEAD_BIAS, HEAD_WEIGHT
from medlora.task.opening import compute_probabilities

# The probabilities of each image, in the images' order.
Answers = list[tuple[float, ...]]


@dataclass(frozen=True, eq=False)
class Head:
    """A classifier of features.

    Attributes:
        weight: Float32 (class, feature).
        bias: Float32 (class,).
        multi_label: Whether the classes are independent.
    """

    weight: Tensor
    bias: Tensor
    multi_label: bool

    @property
    def n_parameters(self) -> int:
        """Number of its values."""
        return self.weight.numel() + self.bias.numel()


def build_network(name: str, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """An architecture whose weights are still to come, frozen, with this project's layers.

    The plain models have the same linear layers as all others, so that what is compared is what
    the adapters cost and nothing else.
    """
    network = create_architecture(name).to(dtype).to(device).requires_grad_(False).eval()
    freeze_linears(network)
    return network


def fill_network(network: nn.Module, path: Path) -> tuple[Tensor, Tensor]:
    """Overwrite a network's tensors with those of a fine-tuned model's file.

    Args:
        network: A network of the same architecture.
        path: The file.

    Returns:
        Weight and bias of the head, float32, on the network's device.
    """
    own = network.state_dict()
    device = next(iter(own.values())).device
    with safe_open(path, framework="pt", device=str(device)) as content, torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(content.get_tensor(name_network_tensor(name)))
        # A tensor on the processor is the file itself, which is about to be closed.
        return content.get_tensor(HEAD_WEIGHT).clone(), content.get_tensor(HEAD_BIAS).clone()


@torch.inference_mode()
def answer_images(
    network: nn.Module,
    head: Head,
    images: Sequence[Tensor],
    preprocessing: Preprocessing,
    dtype: torch.dtype,
) -> Answers:
    """The way from pixels to probabilities, which is the same for all but a bank.

    Args:
        network: Images to features, in `dtype`.
        head: The classifier.
        images: Pixels, uint8, each (3, height, width), on the processor.
        preprocessing: Holds mean and standard deviation.
        dtype: Type of the network.
    """
    pixels = torch.stack(list(images)).to(head.weight.device)
    features = network(normalise_batch(pixels, preprocessing, dtype))
    logits = functional.linear(features.float(), head.weight, head.bias)
    probabilities = compute_probabilities(logits, multi_label=head.multi_label)
    return [tuple(row) for row in probabilities.cpu().tolist()]
