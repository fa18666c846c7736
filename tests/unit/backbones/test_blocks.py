import pytest
import torch
from torch import nn

from medlora.backbones.blocks import list_last_modules
from medlora.backbones.spec import choose_patterns, create_architecture
from medlora.errors import TargetError
from medlora.lora.attach import find_targets


def keep_targets(name: str, targets: str, n_blocks: int) -> list[str]:
    with torch.device("meta"):
        model = create_architecture(name)
    layers = find_targets(model, choose_patterns(model, [targets]))
    later = list_last_modules(model, layers, n_blocks)
    return [layer for layer in layers if layer in later]


@pytest.mark.parametrize(
    ("name", "targets", "n_blocks", "expected"),
    [
        ("vit_tiny_patch16_224", "qv", 1, ["blocks.11.attn.qkv"]),
        ("vit_tiny_patch16_224", "qv", 2, ["blocks.10.attn.qkv", "blocks.11.attn.qkv"]),
        ("vit_tiny_patch16_224", "mlp", 1, ["blocks.11.mlp.fc1", "blocks.11.mlp.fc2"]),
        ("vgg11", "conv", 2, ["features.16", "features.18"]),
        ("vgg11", "fc", 1, ["pre_logits.fc1", "pre_logits.fc2"]),
        ("resnet18", "conv", 1, ["layer4.1.conv1", "layer4.1.conv2"]),
        ("convnext_atto", "conv", 1, ["stages.3.blocks.1.conv_dw"]),
        # What lies behind the last block is kept with it.
        (
            "tf_efficientnet_lite0",
            "conv",
            1,
            ["blocks.6.0.conv_pw", "blocks.6.0.conv_dw", "blocks.6.0.conv_pwl", "conv_head"],
        ),
    ],
)
def test_the_targets_of_the_last_blocks_are_kept(name, targets, n_blocks, expected) -> None:
    assert keep_targets(name, targets, n_blocks) == expected


def test_more_blocks_than_there_are_are_all() -> None:
    assert len(keep_targets("vit_tiny_patch16_224", "qv", 99)) == 12


def test_a_network_without_known_blocks_is_refused() -> None:
    with pytest.raises(TargetError, match=r"last ones is not known .*--last-blocks"):
        list_last_modules(nn.Sequential(nn.Linear(2, 2)), ["0"], 1)
