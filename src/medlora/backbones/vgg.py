"""The VGG that the paper on low-rank layers for brain tumours prints, as a timm model."""

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vgg import VGG

# Channels of each 3 x 3 convolution; "M" is a 2 x 2 maximum.
_LAYERS: list[int | str] = [
    *(64, 64, "M", 128, 128, "M", 256, 256, "M"),
    *(512, 512, 512, "M", 512, 512, "M"),
]

default_cfgs = generate_default_cfgs(
    {
        "vgg16_seed": {
            "input_size": (3, 224, 224),
            "pool_size": (7, 7),
            "num_classes": 1000,
            # The paper resizes to the input's size, whatever an image's shape.
            "crop_pct": 1.0,
            "crop_mode": "squash",
            "interpolation": "bilinear",
            "mean": IMAGENET_DEFAULT_MEAN,
            "std": IMAGENET_DEFAULT_STD,
            "first_conv": "features.0",
            "classifier": "head.fc",
        }
    }
)


@register_model
def vgg16_seed(pretrained: bool = False, **settings: Any) -> VGG:
    """The network as printed: its third and its last block have one convolution less than VGG16's.

    Five blocks of 3 x 3 convolutions with padding 1 and ReLU (64-64, 128-128, 256-256,
    512-512-512, 512-512), each closed by a 2 x 2 maximum; 25,088 values; two fully connected
    layers of 4096 with ReLU; a classifier. As in timm's own VGG the fully connected layers are
    written as convolutions, 7 x 7 and 1 x 1. Nobody has published weights for it.

    Args:
        pretrained: As timm passes it; there are no pretrained weights.
        settings: As timm passes them.

    Reference:
        Enhancing Brain Tumor Classification: VGG16 with Low-Rank Adaptation (LoRA), section on
        the architecture.
    """
    network: VGG = build_model_with_cfg(
        VGG,
        "vgg16_seed",
        pretrained,
        model_cfg=_LAYERS,
        feature_cfg={"flatten_sequential": True, "out_indices": (0, 1, 2, 3, 4, 5)},
        **settings,
    )
    return network
