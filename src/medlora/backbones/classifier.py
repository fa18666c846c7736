"""The classifier that timm itself puts behind a backbone: its name, and models that have one."""

import timm
import torch
from torch import Tensor, nn

from medlora.backbones.connected import is_convolutional
from medlora.errors import BackboneError

Classifier = nn.Linear | nn.Conv2d


def create_with_classifier(name: str, n_classes: int) -> nn.Module:
    """A timm model with its own classifier, untrained, in evaluation mode.

    Inside `torch.device("meta")` it takes no memory and has names and shapes alone.

    Args:
        name: timm's name of the backbone.
        n_classes: Outputs of the classifier, at least 1.

    Raises:
        BackboneError: timm has no such model.
    """
    if is_convolutional(name):
        raise BackboneError(
            f"timm has no model that classifies the features of {name}, the convolutions alone. "
            "Keep the task as a task file, or write it with --onnx."
        )
    try:
        with torch.random.fork_rng(devices=[]):
            model: nn.Module = timm.create_model(name, pretrained=False, num_classes=n_classes)
    except (RuntimeError, ValueError, TypeError) as error:
        raise BackboneError(
            f"timm has no usable model {name!r} ({error}). See timm.list_models()."
        ) from error
    return model.eval()


def find_classifiers(model: nn.Module) -> dict[str, Classifier]:
    """The layers that turn a model's features into classes, by name.

    Nearly all models have one. Those distilled from a teacher may have two and answer with
    the mean of both.

    Args:
        model: A timm model with a classifier.

    Raises:
        BackboneError: The model does not say where its classifier is, or it is no linear layer.

    Example:
        >>> with torch.device("meta"):
        ...     list(find_classifiers(create_with_classifier("resnet18", 3)))
        ['fc']
    """
    named = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    names = (named,) if isinstance(named, str) else tuple(named)
    modules = dict(model.named_modules())
    found: dict[str, Classifier] = {}
    for name in names:
        layer = modules.get(name)
        # Some families write the product over 1 x 1 features as a convolution.
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1):
            continue
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.bias is not None:
            found[name] = layer
    if not names or len(found) < len(names):
        raise BackboneError(
            f"{type(model).__name__} has no plain linear classifier under a name that timm "
            "gives, so a task's head has no place in it. Keep the task as a task file."
        )
    return found


def place_head(classifier: Classifier, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A task's head in the shape of one of timm's classifiers.

    Args:
        classifier: One of `find_classifiers`.
        weight: Float (class, feature).
        bias: Float (class,).

    Raises:
        BackboneError: The classifier takes another number of features, or of classes.
    """
    n_classes, n_features = classifier.weight.shape[:2]
    if weight.shape != (n_classes, n_features) or bias.shape != (n_classes,):
        raise BackboneError(
            f"The head maps {weight.shape[-1]} features to {weight.shape[0]} classes; the "
            f"model's own classifier maps {n_features} to {n_classes}. Keep the task as a task "
            "file."
        )
    return weight.reshape(classifier.weight.shape), bias
