"""What the project knows about a family of timm models: which layers to adapt by default."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import timm
import torch
from timm.data import resolve_model_data_config
from torch import nn

from medlora.backbones.channels import adapt_first_layer, adapt_preprocessing
from medlora.backbones.connected import (
    CONNECTED,
    create_convolutions,
    has_omitted_layers,
    is_convolutional,
    name_complete,
)
from medlora.errors import BackboneError, TargetError
from medlora.preprocessing import Preprocessing

DEFAULT_TARGETS = "default"


@dataclass(frozen=True)
class FamilyRule:
    """Named sets of target patterns for a family of timm models.

    Attributes:
        name: The family's usual name.
        class_names: timm's model classes that belong to it.
        targets: Name of a set to its patterns, as `medlora.lora.attach.find_targets` reads
            them; the set `default` is used where none is asked for.
        chain: Patterns of modules that are called one after another, each on nothing but the
            answer of the one before; what comes before the first of them is part of the chain.
        channels_last: Whether it computes faster on images whose channels vary fastest in
            memory, as networks of convolutions do: a fifth, measured on a processor with bf16.
        map_layer: Pattern of the layers whose last one, poolings apart, holds the feature maps
            that explain an answer; none where the network has tokens in place of maps.
        map_reduction: In place of a pattern: the last stage, as timm lists them, that is reduced
            so many times at most.
        maps_end_in_channels: Whether these maps are (image, height, width, channel).
    """

    name: str
    class_names: tuple[str, ...]
    targets: dict[str, tuple[str, ...]]
    chain: tuple[str, ...]
    channels_last: bool = False
    map_layer: str | None = None
    map_reduction: int | None = None
    maps_end_in_channels: bool = False


FAMILIES = (
    FamilyRule(
        "vit",
        ("VisionTransformer",),
        {
            "default": ("blocks.*.attn.qkv:qv",),
            "qv": ("blocks.*.attn.qkv:qv",),
            "attention": ("blocks.*.attn.qkv:qkv", "blocks.*.attn.proj"),
            "mlp": ("blocks.*.mlp.fc1", "blocks.*.mlp.fc2"),
            "all": (
                "blocks.*.attn.qkv:qkv",
                "blocks.*.attn.proj",
                "blocks.*.mlp.fc1",
                "blocks.*.mlp.fc2",
            ),
        },
        chain=("blocks.*",),
    ),
    FamilyRule(
        "swin",
        ("SwinTransformer",),
        {
            "default": ("layers.*.attn.qkv:qv",),
            "qv": ("layers.*.attn.qkv:qv",),
            "attention": ("layers.*.attn.qkv:qkv", "layers.*.attn.proj"),
            "mlp": ("layers.*.mlp.fc1", "layers.*.mlp.fc2"),
        },
        chain=("layers.*.blocks.*",),
        map_layer="norm",
        maps_end_in_channels=True,
    ),
    FamilyRule(
        "swinv2",
        ("SwinTransformerV2",),
        {
            # timm multiplies by the weight of `qkv` here without calling the layer, so that an
            # update beside it would have no effect.
            "default": ("layers.*.attn.proj",),
            "mlp": ("layers.*.mlp.fc1", "layers.*.mlp.fc2"),
        },
        chain=("layers.*.blocks.*",),
        map_layer="norm",
        maps_end_in_channels=True,
    ),
    FamilyRule(
        "convnext",
        ("ConvNeXt",),
        {
            "default": ("stages.*.mlp.fc1", "stages.*.mlp.fc2"),
            "mlp": ("stages.*.mlp.fc1", "stages.*.mlp.fc2"),
            "conv": ("stages.*.conv_dw",),
        },
        chain=("stages.*.blocks.*",),
        channels_last=True,
        map_layer="stages",
    ),
    FamilyRule(
        "vgg",
        ("VGG",),
        {"default": ("features.*",), "conv": ("features.*",), "fc": ("pre_logits.fc*",)},
        chain=("features.*", CONNECTED),
        channels_last=True,
        map_layer="features.*",
    ),
    FamilyRule(
        "resnet",
        ("ResNet",),
        {"default": ("layer*.conv?",), "conv": ("layer*.conv?",)},
        chain=("layer*.*",),
        channels_last=True,
        map_layer="layer4",
    ),
    FamilyRule(
        "densenet",
        ("DenseNet",),
        {
            "default": ("features.denseblock*.conv?",),
            "conv": ("features.denseblock*.conv?", "features.transition*.conv"),
        },
        chain=("features.*",),
        channels_last=True,
        map_layer="features.norm5",
    ),
    FamilyRule(
        "efficientnet",
        ("EfficientNet",),
        {
            # The 1 x 1 convolutions hold nearly all of the weights; a depthwise kernel is too
            # small for a low-rank update to save anything.
            "default": ("blocks.*.conv_pw", "blocks.*.conv_pwl"),
            "conv": ("blocks.*.conv_pw", "blocks.*.conv_pwl", "blocks.*.conv_dw", "conv_head"),
        },
        chain=("blocks.*.*",),
        channels_last=True,
        # Cells of a thirty-second are larger than many lesions: on drawn slices the largest value
        # lay in the lesion half as often as with those of a sixteenth.
        map_reduction=16,
    ),
)


def find_family(model: nn.Module) -> FamilyRule | None:
    """The family that a timm model belongs to; None where the project has no rule for it."""
    for family in FAMILIES:
        if type(model).__name__ in family.class_names:
            return family
    return None


def choose_patterns(model: nn.Module, targets: Sequence[str]) -> tuple[str, ...]:
    """Target patterns for a model, with the names of its family's sets replaced by patterns.

    Args:
        model: The backbone.
        targets: Names of sets (`default`, `conv`, ...) or patterns, in any mixture.

    Raises:
        TargetError: `default` is asked for and the model's family is unknown, or layers are
            meant that were left out of the model.
    """
    family = find_family(model)
    sets = family.targets if family else {}
    patterns: list[str] = []
    for target in targets:
        if target == DEFAULT_TARGETS and not sets:
            known = ", ".join(family.name for family in FAMILIES)
            raise TargetError(
                f"There are default targets for {known}, none for {type(model).__name__}. "
                "Give patterns of layer names with --targets."
            )
        patterns.extend(sets.get(target, (target,)))
    if has_omitted_layers(model) and any(p.startswith(f"{CONNECTED}.") for p in patterns):
        raise TargetError(
            "This backbone holds a VGG's convolutions alone: below an adapter on its fully "
            "connected layers W would be random. Choose --method factorised, which trains W = U V "
            "and needs no W; adapt the convolutions (--targets conv); or load a complete network "
            "(--backbone without '.features')."
        )
    return tuple(patterns)


def find_chain(model: nn.Module) -> tuple[str, ...]:
    """Modules of a timm model that are called one after another, in that order.

    Returns:
        Their dotted names, none of them inside another; nothing where the family is unknown.
    """
    family = find_family(model)
    if family is None:
        return ()
    names = [name for name, _ in model.named_modules()]
    return tuple(
        name
        for name in names
        if any(
            fnmatchcase(name, pattern) and name.count(".") == pattern.count(".")
            for pattern in family.chain
        )
    )


def find_memory_format(model: nn.Module) -> torch.memory_format:
    """The layout of images that a timm model computes fastest on; as they are if unknown."""
    family = find_family(model)
    is_last = family is not None and family.channels_last
    return torch.channels_last if is_last else torch.preserve_format


def read_preprocessing(model: nn.Module) -> Preprocessing:
    """The preprocessing that a timm model was trained with, from its own data configuration."""
    config = resolve_model_data_config(model)
    if config["input_size"][0] != 3:
        raise BackboneError(
            f"The backbone takes {config['input_size'][0]} channels; only 3 are supported. "
            "Choose another model."
        )
    return Preprocessing(
        size=(int(config["input_size"][1]), int(config["input_size"][2])),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        crop_fraction=float(config["crop_pct"]),
        crop_mode=config["crop_mode"],
    )


def read_named_preprocessing(name: str, channels: tuple[str, ...] = ()) -> Preprocessing:
    """The same by a model's name: no weights are looked for.

    Args:
        name: timm's name, as `create_architecture` takes it.
        channels: Series of a case that it is to take in place of the three colours.

    Raises:
        BackboneError: timm has no such model, or it cannot take series.
    """
    with torch.device("meta"):
        model = create_architecture(name)
        if channels:
            adapt_first_layer(model, len(channels))
    preprocessing = read_preprocessing(model)
    return adapt_preprocessing(preprocessing, channels) if channels else preprocessing


def create_architecture(name: str) -> nn.Module:
    """A timm model without its pretraining head and without trained weights.

    Args:
        name: timm's name, with or without a tag, for example `vit_tiny_patch16_224`; for a
            VGG's convolutions alone with `.features` behind it.

    Raises:
        BackboneError: timm has no such model.
    """
    try:
        if is_convolutional(name):
            return create_convolutions(name)
        return timm.create_model(name, pretrained=False, num_classes=0)
    except (RuntimeError, ValueError, TypeError) as error:
        raise _describe_unknown(name, error) from error


def _describe_unknown(name: str, reason: object) -> BackboneError:
    architecture = name_complete(name).partition(".")[0]
    near = timm.list_models(f"*{architecture.rpartition('_')[0] or architecture}*")[:4]
    hint = f" Near it: {', '.join(near)}." if near else ""
    return BackboneError(
        f"timm has no usable model {name!r} ({reason}).{hint} See timm.list_models()."
    )


def count_features(model: nn.Module) -> int:
    """Length of the feature vector of a timm model without its head.

    Raises:
        BackboneError: The model does not tell.
    """
    # `num_features` is the width before a head's own hidden layers; VGG has such layers.
    count = getattr(model, "head_hidden_size", None) or getattr(model, "num_features", None)
    if not isinstance(count, int):
        raise BackboneError(
            f"{type(model).__name__} does not tell the width of its features. "
            "Choose another timm model."
        )
    return count
