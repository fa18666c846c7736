"""A task as a bank holds it: its numbers in the shape in which batches need them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from medlora.backbones.copying import share_frozen
from medlora.backbones.weights import Backbone
from medlora.errors import TargetError, TaskFileError
from medlora.evaluate.novelty import NoveltyMeasure
from medlora.lora.packing import AdapterLayout
from medlora.lora.routed import RoutedNetwork
from medlora.lora.scaling import compute_scale
from medlora.task.card import TaskCard
from medlora.task.file import Task, check_backbone
from medlora.task.layout import HEAD_BIAS, HEAD_WEIGHT, TRAINED_PREFIX
from medlora.task.model import TaskModel
from medlora.task.opening import build_model

ADAPTER_PREFIX = "adapter."


@dataclass(frozen=True, eq=False)
class HeldTask:
    """A task, ready to be used in a batch. It never changes.

    Attributes:
        card: What the task is.
        place: Where it came from, for errors.
        head: Weights of its head, float32 (feature, class).
        bias: Float32 (class,).
        layout: How its adapter lies in `packed`; None for a task without one.
        packed: Its adapter's matrices in one row, in the bank's type.
        model: A network of its own, sharing the backbone's frozen tensors, for a task that
            trained parameters of the backbone itself or has factorised layers; None for all
            others.
        measure: Tells how unlike its training images an image is; None where it keeps nothing
            of them.
    """

    card: TaskCard
    place: str
    head: Tensor
    bias: Tensor
    layout: AdapterLayout | None
    packed: Tensor | None
    model: TaskModel | None
    measure: NoveltyMeasure | None = None

    @property
    def n_bytes(self) -> int:
        """Memory that it takes beside the backbone."""
        if self.model is not None:
            tensors = [value.detach() for value in self.model.named_trainable().values()]
        else:
            tensors = [self.head, self.bias]
        if self.packed is not None:
            tensors.append(self.packed)
        n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return n_bytes + (self.measure.n_bytes if self.measure else 0)


def hold_task(
    task: Task,
    backbone: Backbone,
    network: RoutedNetwork,
    *,
    place: str,
    dtype: torch.dtype,
    device: torch.device,
) -> HeldTask:
    """Bring a task's numbers into the shape in which batches need them.

    Args:
        task: The task.
        backbone: The backbone of the bank.
        network: Its network.
        place: Where the task came from, for errors.
        dtype: Type of the network.
        device: Where it computes.

    Raises:
        WrongBackboneError: The task belongs to another backbone.
        TaskFileError: Its tensors do not fit the backbone.
    """
    card = task.card
    check_backbone(task, backbone.name, backbone.fingerprint, place)
    weight, bias = (task.tensors[name].float() for name in (HEAD_WEIGHT, HEAD_BIAS))
    if card.factorised is None and weight.shape[1] != backbone.n_features:
        raise TaskFileError(
            f"Task {card.name!r} ({place}): its head takes {weight.shape[1]} features, the "
            f"backbone gives {backbone.n_features}. Use the backbone that its card names."
        )
    layout = packed = model = None
    head = weight.t().contiguous().to(device)
    bias = bias.to(device, copy=True)
    if card.factorised or any(name.startswith(TRAINED_PREFIX) for name in task.tensors):
        model = build_model(task, backbone, place=place, dtype=dtype, device=device)
        share_frozen(model.network, network.tensors)
        head, bias = model.head.weight.detach().t(), model.head.bias.detach()
    elif card.adapter is not None:
        scale = compute_scale(card.adapter.rank, card.adapter.alpha, card.adapter.scaling)
        matrices = {
            name.removeprefix(ADAPTER_PREFIX): tensor
            for name, tensor in task.tensors.items()
            if name.startswith(ADAPTER_PREFIX)
        }
        try:
            layout = network.lay_out(card.adapter.layers, rank=card.adapter.rank)
            packed = layout.pack(matrices, scale, dtype).to(device)
        except TargetError as error:
            raise TaskFileError(f"Task {card.name!r} ({place}): {error}") from error
    return HeldTask(
        card=card,
        place=place,
        head=head,
        bias=bias,
        layout=layout,
        packed=packed,
        model=model,
        measure=NoveltyMeasure.read(task, place),
    )
