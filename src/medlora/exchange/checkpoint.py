"""A task as a plain timm checkpoint, in which nothing of the adapter is left to be seen."""

from pathlib import Path

import torch
from torch import Tensor, nn

from medlora.backbones.classifier import create_with_classifier, find_classifiers, place_head
from medlora.backbones.connected import is_convolutional, name_complete
from medlora.backbones.weights import Backbone
from medlora.data.image import normalise_batch
from medlora.errors import BackboneError
from medlora.exchange.metadata import describe_task, pack_described
from medlora.lora.attach import merge_adapters
from medlora.lora.factorised import merge_factorised
from medlora.storage import write_atomically
from medlora.task.file import Task
from medlora.task.model import TaskModel
from medlora.task.opening import SELF_CHECK_IMAGES, build_model, draw_check_images

# Largest difference in a logit, as a share of the largest one: products of merged weights are
# summed in another order, in float32.
TOLERANCE = 1e-4
_SEED = 20240229


def merge_task(task: Task, backbone: Backbone, *, place: str) -> dict[str, Tensor]:
    """The tensors of `timm.create_model(name, num_classes=n)` that answers like the task.

    The adapter is added to the backbone's weights, factorised layers are multiplied out, the
    head stands under the name of timm's own classifier, and trained normalisations take the
    place of the backbone's. A model with these tensors has been asked, and gave the task's
    logits.

    Args:
        task: The task, of any method.
        backbone: Its backbone; it is not changed.
        place: Where the task came from, for errors.

    Returns:
        Name to tensor in float32, as `load_state_dict` takes it strictly.

    Raises:
        WrongBackboneError: The task belongs to another backbone.
        TaskFileError: Its tensors do not fit the backbone.
        BackboneError: timm's model has more than one linear layer behind its features, or there
            is none with the backbone's features.
    """
    if task.card.factorised and not is_convolutional(task.card.backbone.name):
        raise BackboneError(
            f"timm's {task.card.backbone.name} has no fully connected layers behind its feature "
            "map, so the task cannot become a checkpoint of it. Keep it as a task file, or write "
            "it with --onnx."
        )
    model = build_model(task, backbone, place=place)
    network = merge_adapters(model.network)
    merge_factorised(network)
    merged = network.state_dict()
    state = {name: tensor.detach().clone().contiguous() for name, tensor in merged.items()}
    plain = create_with_classifier(name_merged(task), len(task.card.classes))
    for name, layer in find_classifiers(plain).items():
        head = place_head(layer, model.head.weight.detach(), model.head.bias.detach())
        state[f"{name}.weight"], state[f"{name}.bias"] = (part.clone() for part in head)
    odd = sorted(state.keys() ^ plain.state_dict().keys())
    if odd:
        raise BackboneError(
            f"{backbone.name} has more between its features and its classes than one linear "
            f"layer ({odd[0]!r}), so the task cannot become a checkpoint of it. Keep it as a "
            "task file, or write it with --onnx."
        )
    plain.load_state_dict(state)
    _check_answers(plain, model, task, place)
    return state


def name_merged(task: Task) -> str:
    """The name in timm of the network that a merged task is a checkpoint of.

    A task with factorised layers gives its convolutions the fully connected layers that they
    lacked, and so makes a complete network of them.
    """
    name = task.card.backbone.name
    return name_complete(name) if task.card.factorised else name


def pack_checkpoint(task: Task, backbone: Backbone, *, place: str) -> bytes:
    """The merged task as the content of a safetensors file.

    The same task gives the same bytes. Classes, thresholds and preprocessing are in its
    metadata, see `medlora.exchange.metadata.describe_task`.

    Raises:
        MedLoRAError: As for `merge_task`.
    """
    state = merge_task(task, backbone, place=place)
    return pack_described(state, {"format": "pt", **describe_task(task.card)})


def save_checkpoint(path: Path, task: Task, backbone: Backbone, *, place: str) -> None:
    """Write the merged task; what lay at `path` before stays whole until this is complete.

    Raises:
        MedLoRAError: As for `merge_task`.
        StorageError: The file cannot be written.
    """
    write_atomically(path, pack_checkpoint(task, backbone, place=place))


@torch.inference_mode()
def _check_answers(plain: nn.Module, model: TaskModel, task: Task, place: str) -> None:
    preprocessing = task.card.preprocessing
    images = draw_check_images(_SEED, SELF_CHECK_IMAGES, preprocessing)
    inputs = normalise_batch(images, preprocessing)
    expected = model(inputs)
    difference = float((plain(inputs) - expected).abs().max())
    largest = max(1.0, float(expected.abs().max()))
    if not difference <= TOLERANCE * largest:
        raise BackboneError(
            f"Task {task.card.name!r} merged into {task.card.backbone.name} answers otherwise: a "
            f"logit of up to {largest:.3g} differs by {difference:.2g} ({place}). That model does "
            "not classify its features as others do; keep the task as a task file."
        )
