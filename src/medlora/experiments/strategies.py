"""Ways of answering images of several tasks with one backbone's architecture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from medlora.backbones.copying import copy_network
from medlora.backbones.linear import freeze_linears
from medlora.backbones.spec import read_preprocessing
from medlora.backbones.weights import load_backbone
from medlora.bank.bank import TaskBank
from medlora.bank.pixels import name_pixels
from medlora.errors import TaskFileError
from medlora.experiments.deployment_files import DeploymentFiles, is_multi_label, name_task
from medlora.experiments.deployment_layout import (
    HELD,
    MERGED,
    MIXED,
    PLAIN,
    RELOADED,
    SWITCHED,
)
from medlora.experiments.plain_model import (
    Answers,
    Head,
    answer_images,
    build_network,
    fill_network,
)
from medlora.experiments.published_layer import publish_layers
from medlora.lora.attach import (
    attach_adapters,
    collect_matrices,
    count_parameters,
    merge_adapters,
)
from medlora.preprocessing import Preprocessing
from medlora.task.file import Task, load_task
from medlora.task.layout import HEAD_BIAS, HEAD_WEIGHT
from medlora.task.opening import build_model

_ADAPTER = "adapter."


@dataclass(frozen=True)
class Setting:
    """What a strategy is built from.

    Attributes:
        backbone: timm's model name.
        files: Backbone, adapters and fine-tuned models.
        dtype: Type to compute in; heads compute in float32.
        device: Where to compute.
    """

    backbone: str
    files: DeploymentFiles
    dtype: torch.dtype
    device: torch.device


class Strategy(Protocol):
    """A way of answering, loaded and ready."""

    @property
    def fixed_task(self) -> int | None:
        """The one task that it answers, whatever task an image asks; None where it has them all."""

    @property
    def needs_switch(self) -> bool:
        """Whether it has to be told of a task before it can answer it."""

    @property
    def n_parameters(self) -> int:
        """Values that it holds in memory, each counted once."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What the backbone's inputs go through."""

    def switch(self, task: int) -> None:
        """Make a task the active one."""

    def answer(self, images: Sequence[Tensor], tasks: Sequence[int]) -> Answers:
        """The probabilities of each image.

        Args:
            images: Pixels, uint8, each (3, height, width), on the processor.
            tasks: The task of each; all the active one where `needs_switch`.
        """


class PlainModel:
    """One fine-tuned model, which answers all images as if they asked the first task."""

    fixed_task = 0
    needs_switch = False

    def __init__(self, setting: Setting) -> None:
        self.dtype = setting.dtype
        self.network = build_network(setting.backbone, setting.dtype, setting.device)
        self.preprocessing = read_preprocessing(self.network)
        weight, bias = fill_network(self.network, setting.files.models[0])
        self.head = Head(weight, bias, is_multi_label(0))
        self.n_parameters = _count_values(self.network) + self.head.n_parameters

    def switch(self, task: int) -> None:
        """Nothing to do."""

    def answer(self, images: Sequence[Tensor], tasks: Sequence[int]) -> Answers:
        """See `Strategy.answer`."""
        return answer_images(self.network, self.head, images, self.preprocessing, self.dtype)


class ReloadedModels:
    """Fine-tuned models of which one is in memory, overwritten from the file of the next."""

    fixed_task = None
    needs_switch = True

    def __init__(self, setting: Setting) -> None:
        self.dtype = setting.dtype
        self.files = setting.files.models
        self.network = build_network(setting.backbone, setting.dtype, setting.device)
        self.preprocessing = read_preprocessing(self.network)
        self.switch(0)
        self.n_parameters = _count_values(self.network) + self.head.n_parameters

    def switch(self, task: int) -> None:
        """Read the task's model from its file."""
        weight, bias = fill_network(self.network, self.files[task])
        self.head = Head(weight, bias, is_multi_label(task))

    def answer(self, images: Sequence[Tensor], tasks: Sequence[int]) -> Answers:
        """See `Strategy.answer`."""
        return answer_images(self.network, self.head, images, self.preprocessing, self.dtype)


class HeldModels:
    """Fine-tuned models, all in memory."""

    fixed_task = None
    needs_switch = True

    def __init__(self, setting: Setting) -> None:
        self.dtype = setting.dtype
        first = build_network(setting.backbone, setting.dtype, setting.device)
        self.preprocessing = read_preprocessing(first)
        self.models: list[tuple[nn.Module, Head]] = []
        for task, path in enumerate(setting.files.models):
            network = copy_network(first, setting.dtype, share=False) if task else first
            weight, bias = fill_network(network, path)
            self.models.append((network, Head(weight, bias, is_multi_label(task))))
        self.active = 0
        self.n_parameters = sum(
            _count_values(network) + head.n_parameters for network, head in self.models
        )

    def switch(self, task: int) -> None:
        """Point at another model."""
        self.active = task

    def answer(self, images: Sequence[Tensor], tasks: Sequence[int]) -> Answers:
        """See `Strategy.answer`."""
        network, head = self.models[self.active]
        return answer_images(network, head, images, self.preprocessing, self.dtype)


class SwitchedAdapter:
    """MeLo as published: one network with adapted layers, whose matrices a switch overwrites.

    All adapters and heads lie in memory, in the type and on the device that they are needed in.
    """

    fixed_task = None
    needs_switch = True

    def __init__(self, setting: Setting) -> None:
        self.dtype = setting.dtype
        backbone = load_backbone(setting.backbone, setting.files.backbone)
        self.preprocessing = backbone.preprocessing
        tasks = [load_task(path) for path in setting.files.tasks]
        network = copy_network(backbone.model, setting.dtype, share=True)
        freeze_linears(network.requires_grad_(False).eval())
        _attach(network, tasks[0])
        self.network = network.to(setting.device)
        self.matrices = collect_matrices(self.network)
        for matrix in self.matrices.values():
            matrix.data = matrix.data.to(setting.dtype)
            matrix.requires_grad_(False)
        publish_layers(self.network)
        self.adapters = [_take_adapter(task, setting) for task in tasks]
        self.heads = [_take_head(task, setting.device) for task in tasks]
        self.active = 0
        self.n_parameters = (
            _count_values(self.network)
            + sum(count_parameters(adapter) for adapter in self.adapters)
            + sum(head.n_parameters for head in self.heads)
        )

    def switch(self, task: int) -> None:
        """Overwrite the matrices in the network."""
        self.active = task
        with torch.no_grad():
            for name, matrix in self.matrices.items():
                matrix.copy_(self.adapters[task][name])

    def answer(self, images: Sequence[Tensor], tasks: Sequence[int]) -> Answers:
        """See `Strategy.answer`."""
        head = self.heads[self.active]
        return answer_images(self.network, head, images, self.preprocessing, self.dtype)


class MixedBank:
    """This project's bank: every image of a batch asks its own task."""

    fixed_task = None
    needs_switch = False

    def __init__(self, setting: Setting) -> None:
        backbone = load_backbone(setting.backbone, setting.files.backbone)
        self.bank = TaskBank(backbone, dtype=setting.dtype, device=setting.device)
        self.preprocessing = backbone.preprocessing
        self.pixels = name_pixels(backbone.preprocessing)
        self.n_parameters = backbone.n_parameters
        for path in setting.files.tasks:
            task = load_task(path)
            self.bank.add(task, place=str(path))
            self.n_parameters += count_parameters(task.tensors)

    def switch(self, task: int) -> None:
        """Nothing to do."""

    def answer(self, images: Sequence[Tensor], tasks: Sequence[int]) -> Answers:
        """See `Strategy.answer`."""
        prepared = [{self.pixels: image} for image in images]
        names = [(name_task(task),) for task in tasks]
        found = self.bank.predict_prepared(prepared, names, batch_size=len(images))
        return [answers[name].probabilities for answers, (name,) in zip(found, names, strict=True)]


class MergedTask:
    """This project's merged copy of the first task, where all images ask that one."""

    fixed_task = 0
    needs_switch = False

    def __init__(self, setting: Setting) -> None:
        self.dtype = setting.dtype
        backbone = load_backbone(setting.backbone, setting.files.backbone)
        self.preprocessing = backbone.preprocessing
        path = setting.files.tasks[0]
        task = load_task(path)
        model = build_model(
            task, backbone, place=str(path), dtype=setting.dtype, device=setting.device
        )
        self.network = merge_adapters(model.network)
        self.head = _take_head(task, setting.device)
        self.n_parameters = _count_values(self.network) + self.head.n_parameters

    def switch(self, task: int) -> None:
        """Nothing to do."""

    def answer(self, images: Sequence[Tensor], tasks: Sequence[int]) -> Answers:
        """See `Strategy.answer`."""
        return answer_images(self.network, self.head, images, self.preprocessing, self.dtype)


BUILDERS: dict[str, Callable[[Setting], Strategy]] = {
    PLAIN: PlainModel,
    RELOADED: ReloadedModels,
    HELD: HeldModels,
    SWITCHED: SwitchedAdapter,
    MIXED: MixedBank,
    MERGED: MergedTask,
}


def _attach(network: nn.Module, task: Task) -> None:
    adapter = task.card.adapter
    if adapter is None:
        raise TaskFileError(f"Task {task.card.name!r} has no adapter to switch to.")
    attach_adapters(
        network, adapter.layers, rank=adapter.rank, alpha=adapter.alpha, scaling=adapter.scaling
    )


def _take_adapter(task: Task, setting: Setting) -> dict[str, Tensor]:
    return {
        name.removeprefix(_ADAPTER): tensor.to(setting.device, setting.dtype)
        for name, tensor in task.tensors.items()
        if name.startswith(_ADAPTER)
    }


def _take_head(task: Task, device: torch.device) -> Head:
    weight, bias = (task.tensors[name].to(device) for name in (HEAD_WEIGHT, HEAD_BIAS))
    return Head(weight, bias, task.card.multi_label)


def _count_values(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
