"""Both of PEFT's files together, read and seen to fit a backbone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medlora.backbones.classifier import create_with_classifier, find_classifiers
from medlora.backbones.fingerprint import COUNTER
from medlora.backbones.weights import Backbone
from medlora.errors import TaskFileError
from medlora.exchange.peft_config import CONFIG_FILE, PeftConfig, read_config
from medlora.exchange.peft_tensors import WEIGHTS_FILE, PeftTensors, unpack_tensors
from medlora.exchange.updates import LayerUpdate, check_fit


@dataclass(frozen=True, eq=False)
class PeftAdapter:
    """An adapter of PEFT over a backbone.

    Attributes:
        config: What its configuration says.
        tensors: What its other file holds.
        updates: Layer name to its update, in the order of the names.
        weight: The head, float (class, feature).
        bias: Float (class,).
        beside: Tensors of other modules that are kept whole, by their names in the backbone.
    """

    config: PeftConfig
    tensors: PeftTensors
    updates: dict[str, LayerUpdate]
    weight: Tensor
    bias: Tensor
    beside: dict[str, Tensor]


def read_adapter(files: Mapping[str, bytes], backbone: Backbone, place: str) -> PeftAdapter:
    """Read both files.

    Args:
        files: `adapter_config.json` and `adapter_model.safetensors` by name.
        backbone: The backbone that the adapter was trained on.
        place: Where the files came from, for errors.

    Raises:
        TaskFileError: A file is missing or damaged, holds another kind of adapter than plain
            LoRA, does not fit the other file or the backbone, or there is no classifier.
    """
    for needed in (CONFIG_FILE, WEIGHTS_FILE):
        if needed not in files:
            raise TaskFileError(f"{place}: the file {needed!r} is missing. Give both of PEFT's.")
    config = read_config(files[CONFIG_FILE], f"{place}/{CONFIG_FILE}")
    where = f"{place}/{WEIGHTS_FILE}"
    tensors = unpack_tensors(files[WEIGHTS_FILE], where)
    if not tensors.pairs:
        raise TaskFileError(f"{where} holds no A and no B of any layer, so it is no adapter.")
    updates: dict[str, LayerUpdate] = {}
    for path, (down, up) in sorted(tensors.pairs.items()):
        # Patterns are tried only on what is known to be the name of one of the model's layers.
        update = LayerUpdate(down, up, 1.0)
        check_fit(backbone.model, path, update, where)
        if config.find_rank(path) != update.rank:
            raise TaskFileError(
                f"{where}: the update of {path!r} has rank {update.rank}; the configuration says "
                f"{config.find_rank(path)}. The two files do not belong together."
            )
        updates[path] = replace(update, scale=config.find_scale(path))
    weight, bias, beside = _take_head(tensors.saved, backbone, where)
    return PeftAdapter(config, tensors, updates, weight, bias, beside)


def find_trained(adapter: PeftAdapter, backbone: Backbone, place: str) -> dict[str, Tensor]:
    """Parameters of the backbone that were trained beside the adapter, by name.

    What is kept whole but is still the backbone's own is left out.

    Raises:
        TaskFileError: A tensor is none of the backbone's, or is no parameter and has changed:
            a task keeps no statistics of normalisations beside an adapter.
    """
    own = backbone.model.state_dict()
    parameters = dict(backbone.model.named_parameters())
    trained: dict[str, Tensor] = {}
    for name, tensor in adapter.beside.items():
        if name not in own or own[name].shape != tensor.shape:
            raise TaskFileError(
                f"{place}: the tensor {name!r} of shape {tuple(tensor.shape)} has no place in "
                f"{backbone.name}. Use the backbone that the adapter was trained on."
            )
        if name.rpartition(".")[2] == COUNTER or own[name].equal(tensor.to(own[name].dtype)):
            continue
        if name not in parameters:
            raise TaskFileError(
                f"{place}: {name!r} was changed in training, and a task keeps no statistics of "
                "normalisations beside an adapter. Train it with those layers in evaluation mode."
            )
        trained[name] = tensor.float() if tensor.dtype == torch.float64 else tensor
    return trained


def _take_head(
    saved: Mapping[str, Tensor], backbone: Backbone, place: str
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The classifier's weight and bias, and the tensors that are kept whole beside it."""
    with torch.device("meta"):
        names = list(find_classifiers(create_with_classifier(backbone.name, 2)))
    rest = dict(saved)
    weight, bias = (rest.get(f"{names[0]}.{kind}") for kind in ("weight", "bias"))
    if weight is None or bias is None:
        raise TaskFileError(
            f"{place} holds no classifier, and without one there is no diagnosis. Train the "
            f"adapter over timm.create_model({backbone.name!r}, num_classes=...) with "
            f"modules_to_save={names}."
        )
    for name in names:
        own = rest.pop(f"{name}.weight", None), rest.pop(f"{name}.bias", None)
        if name != names[0] and not _are_equal(own, (weight, bias)):
            raise TaskFileError(
                f"{place}: the classifiers {', '.join(names)} are not the same, and a task has "
                "one head. Train an adapter with one classifier."
            )
    n_classes = bias.numel()
    fits = weight.numel() == n_classes * backbone.n_features and weight.shape[0] == n_classes
    if bias.ndim != 1 or not fits:
        raise TaskFileError(
            f"{place}: the classifier has the shapes {tuple(weight.shape)} and "
            f"{tuple(bias.shape)}; this backbone gives {backbone.n_features} features. Use the "
            "backbone that it was trained on."
        )
    weight = weight.reshape(n_classes, backbone.n_features)
    for tensor in (weight, bias):
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise TaskFileError(
                f"{place}: the classifier holds NaN, infinity or numbers without a point, so its "
                "answers would be meaningless. Train it again."
            )
    if weight.dtype == torch.float64 or bias.dtype == torch.float64:
        weight, bias = weight.float(), bias.float()
    return weight, bias, rest


def _are_equal(left: tuple[Tensor | None, Tensor | None], right: tuple[Tensor, Tensor]) -> bool:
    return all(one is not None and one.equal(other) for one, other in zip(left, right, strict=True))
