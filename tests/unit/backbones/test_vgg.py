import timm
import torch
from torch import nn

from medlora.backbones.spec import create_architecture, find_chain, find_family, read_preprocessing

WIDTHS = [64, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512]


def create_on_meta(n_classes: int) -> nn.Module:
    create_architecture("test_vit")  # timm knows the network as soon as backbones are used
    with torch.device("meta"):
        return timm.create_model("vgg16_seed", pretrained=False, num_classes=n_classes)


def test_the_layers_are_those_that_the_paper_prints() -> None:
    network = create_on_meta(4)
    convolutions = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == WIDTHS
    assert {(layer.kernel_size, layer.padding, layer.stride) for layer in convolutions} == {
        ((3, 3), (1, 1), (1, 1))
    }
    kinds = "".join(type(layer).__name__[0] for layer in network.features)
    assert kinds == "CRCRM" * 3 + "CRCRCRM" + "CRCRM"
    assert all(
        (pool.kernel_size, pool.stride) == (2, 2)
        for pool in network.features
        if isinstance(pool, nn.MaxPool2d)
    )
    assert network.pre_logits.fc1.weight[0].numel() == 25088
    assert network.pre_logits.fc1.out_channels == network.pre_logits.fc2.out_channels == 4096
    assert network.head.fc.out_features == 4


def test_it_takes_any_number_of_classes_and_gives_features_without_one() -> None:
    assert create_on_meta(2)(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 2)
    assert create_on_meta(0)(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 4096)


def test_it_is_a_vgg_to_everything_else() -> None:
    network = create_on_meta(0)
    family = find_family(network)
    assert family is not None
    assert family.name == "vgg"
    assert find_chain(network)[-1] == "pre_logits"
    prepared = read_preprocessing(network)
    assert (prepared.size, prepared.crop_fraction, prepared.crop_mode) == ((224, 224), 1, "squash")
