"""A task in memory: a backbone with the task's adapter on it, and its head."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property

import torch
from torch import Tensor, nn

from medlora.backbones.appended import find_tail
from medlora.backbones.attention import FasterAttentionGradient
from medlora.backbones.blocks import list_last_modules
from medlora.backbones.copying import copy_network
from medlora.backbones.cutting import BEHIND, NetworkCut, find_cut
from medlora.backbones.linear import freeze_linears
from medlora.backbones.observing import has_channels_at_end, summarise_hidden
from medlora.backbones.spec import choose_patterns, find_chain, find_memory_format
from medlora.backbones.weights import Backbone
from medlora.errors import BackboneError, TargetError, TaskFileError
from medlora.lora.attach import attach_adapters, collect_matrices, find_targets
from medlora.lora.factorised import FactorisedLayer, collect_factors
from medlora.task.card import Method
from medlora.task.factorised import put_factorised
from medlora.task.records import AdapterSettings, FactorisedSettings
from medlora.task.trained import list_floating_buffers, train_parameters


class TaskModel(nn.Module):
    """Images to one logit for each class.

    The frozen part of the backbone is held in `dtype` and never changes, normalisation
    statistics included: in training mode only dropout of what is trained is active. What
    is trained, and the head, are held in float32; the head computes in float32.

    Args:
        backbone: The pretrained network; it is left as it is, and its tensors are shared
            where `dtype` allows it.
        n_classes: Number of classes.
        method: `lora` trains an adapter and the head, `linear` the head, `full` everything,
            `factorised` fully connected layers W = U V and the head.
        adapter: Size and place of the adapter; for the method `lora`.
        factorised: Size and place of the layers W = U V; for the method `factorised`. A VGG is
            given as its convolutions alone, such as `vgg16.features`.
        dtype: Type that the frozen part is held and computed in.
        trained: Names of backbone parameters that are trained beside the adapter. The modules
            that they belong to are held in float32.

    Raises:
        TargetError: The adapter's layers or the trained parameters are not this backbone's, or
            cannot be adapted or trained.

    Attributes:
        network: The backbone with the adapter on it.
        head: The classifier of the features.
    """

    def __init__(
        self,
        backbone: Backbone,
        n_classes: int,
        *,
        method: Method,
        adapter: AdapterSettings | None = None,
        factorised: FactorisedSettings | None = None,
        dtype: torch.dtype = torch.float32,
        trained: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.method = method
        self.dtype = dtype
        full = method == "full"
        held = torch.float32 if full else dtype
        self.network = copy_network(backbone.model, held, share=not full)
        self.network.requires_grad_(full).eval()
        if not full:
            freeze_linears(self.network)
        self.trained = () if full else tuple(trained)
        layers = adapter.layers if adapter and method == "lora" else {}
        train_parameters(self.network, backbone.model, self.trained, adapted=layers)
        if method == "lora":
            if adapter is None:
                raise TargetError("The method lora needs adapter settings: rank, alpha, layers.")
            attach_adapters(
                self.network,
                adapter.layers,
                rank=adapter.rank,
                alpha=adapter.alpha,
                scaling=adapter.scaling,
                dropout=adapter.dropout,
            )
        n_features = backbone.n_features
        if method == "factorised":
            n_features = put_factorised(self.network, factorised)
        self.head = nn.Linear(n_features, n_classes)
        self.dropout = nn.Dropout(factorised.dropout if factorised else 0.0)
        # Frozen tensors in bf16 need no casting; trained float32 ones beside them do.
        self.mixes_types = dtype != torch.float32 and (full or bool(self.trained))
        self._memory_format = find_memory_format(backbone.model)
        self._tail = find_tail(self.network)
        self._chain = (*find_chain(backbone.model), *([self._tail] if self._tail else []))
        self._channels_at_end = has_channels_at_end(backbone.model)
        self._cuts: dict[str, NetworkCut] = {}
        known = backbone.preprocessing
        self._image_shape = (known.n_channels, *known.size)

    def forward(self, inputs: Tensor, *, is_started: bool = False) -> Tensor:
        """Logits of images.

        Args:
            inputs: Normalised, float (batch, 3, height, width); or what `start` gave for them.
            is_started: Whether it is that.

        Returns:
            Float32 (batch, class).
        """
        return self.classify(self.extract_features(inputs, is_started=is_started))

    def extract_features(self, inputs: Tensor, *, is_started: bool = False) -> Tensor:
        """The adapted backbone's features, float32 (batch, feature); see `forward`."""
        # The other gradient is for processors alone; looking for it costs time at every call.
        on_processor = inputs.device.type == "cpu" and torch.is_grad_enabled()
        with self._autocast(inputs), FasterAttentionGradient() if on_processor else nullcontext():
            features: Tensor
            if is_started and self.cut:
                features = self.cut.finish(inputs, self.dtype)
            else:
                features = self.network(self._lay_out(inputs))
        return features.float()

    @cached_property
    def cut(self) -> NetworkCut | None:
        """The network in two parts, the first of them frozen; None where there is no such part."""
        place = find_cut(self.network, self._chain)
        if place is None:
            return None
        return self._divide(place)

    @torch.no_grad()
    def start(self, images: Tensor) -> Tensor:
        """The first part of the network alone; `forward` goes on from there.

        Args:
            images: Normalised, float (batch, 3, height, width).

        Returns:
            (batch, ...), in the type that it is computed in.

        Raises:
            BackboneError: All of the network is trained, or its first layers are.
        """
        if self.cut is None:
            raise BackboneError(
                "No part of the network stays as it is below the first trained layer. Train "
                "without --cache-features."
            )
        with self._autocast(images):
            return self.cut.start(self._lay_out(images))

    def observe(self, images: Tensor, place: str) -> tuple[Tensor, Tensor]:
        """Features, and what enters one module on the way to them, in one pass.

        Args:
            images: Normalised, float (batch, 3, height, width).
            place: The module, one of the family's chain; `behind` for the features themselves.

        Returns:
            Float32 (batch, feature) and (batch, value); see
            `medlora.backbones.observing.summarise_hidden`.

        Raises:
            TaskFileError: There is no such module in the chain.
        """
        cut = self._cut_at(place)
        with self._autocast(images):
            hidden = cut.start(self._lay_out(images))
            # First, since a module may write its answer over what it was given.
            description = summarise_hidden(hidden, channels_at_end=self._channels_at_end)
            features = cut.finish(hidden, self.dtype)
        return features.float(), description

    def describe(self, images: Tensor, place: str) -> Tensor:
        """What enters one module, without computing what lies behind it; see `observe`."""
        with self._autocast(images):
            hidden = self._cut_at(place).start(self._lay_out(images))
        return summarise_hidden(hidden, channels_at_end=self._channels_at_end)

    def _cut_at(self, place: str) -> NetworkCut:
        if place not in (*self._chain, BEHIND):
            raise TaskFileError(
                f"The task describes images by what enters {place!r}, which is no module that "
                f"this {type(self.network).__name__} can be cut at. Use the backbone that its "
                "card names."
            )
        if place not in self._cuts:
            self._cuts[place] = self._divide(place)
        return self._cuts[place]

    def _divide(self, place: str) -> NetworkCut:
        return NetworkCut(self.network, place, self._chain, self._image_shape, tail=self._tail)

    def _lay_out(self, images: Tensor) -> Tensor:
        """Images in the type and memory layout that the network computes in."""
        return images.to(self.dtype, memory_format=self._memory_format)

    def _autocast(self, inputs: Tensor) -> torch.autocast:
        return torch.autocast(inputs.device.type, dtype=self.dtype, enabled=self.mixes_types)

    def classify(self, features: Tensor) -> Tensor:
        """The head's logits, float32 (batch, class), whatever the surrounding precision."""
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(self.dropout(features.float()))
        return logits

    def train(self, mode: bool = True) -> "TaskModel":
        """Switch training behaviour on for what is trained, and for nothing that is frozen."""
        super().train(mode)
        if self.method != "full":
            frozen = [m for m in self.network.modules() if not isinstance(m, nn.Dropout)]
            for module in frozen:
                module.training = False
            for name, module in self.network.named_modules():
                if isinstance(module, nn.Dropout) and not _is_low_rank_path(self.network, name):
                    module.training = False
        return self

    def named_trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, under the names that a task file uses."""
        named = {f"head.{name}": value for name, value in self.head.named_parameters()}
        if self.method == "full":
            named |= {f"trained.{name}": p for name, p in self.network.named_parameters()}
            return named
        named |= {f"adapter.{k}": v for k, v in collect_matrices(self.network).items()}
        named |= {f"factorised.{k}": v for k, v in collect_factors(self.network).items()}
        parameters = dict(self.network.named_parameters())
        return named | {f"trained.{name}": parameters[name] for name in self.trained}

    def collect_tensors(self) -> dict[str, Tensor]:
        """Copies, on the CPU, of everything that a task file keeps of this model."""
        kept: dict[str, Tensor] = dict(self.named_trainable())
        if self.method == "full":
            kept |= {
                f"trained.{name}": b for name, b in list_floating_buffers(self.network).items()
            }
        return {name: tensor.detach().cpu().clone() for name, tensor in kept.items()}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the values of a task file, strictly.

        Raises:
            TaskFileError: A tensor is missing, unknown, or has another shape.
        """
        own: dict[str, Tensor] = dict(self.named_trainable())
        if self.method == "full":
            own |= {f"trained.{name}": b for name, b in list_floating_buffers(self.network).items()}
        for name in sorted(own.keys() ^ tensors.keys()):
            where = "lacks" if name in own else "has an odd"
            raise TaskFileError(
                f"The task {where} tensor {name!r}: it does not fit this backbone. "
                "Use the backbone that its card names."
            )
        for name, tensor in own.items():
            if tensor.shape != tensors[name].shape:
                raise TaskFileError(
                    f"The task's tensor {name!r} has shape {tuple(tensors[name].shape)}, this "
                    f"backbone needs {tuple(tensor.shape)}. Use the backbone its card names."
                )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])


def plan_adapter(
    backbone: Backbone,
    *,
    rank: int,
    alpha: float,
    scaling: str = "alpha/rank",
    dropout: float = 0.0,
    targets: Sequence[str] = ("default",),
    last_blocks: int = 0,
) -> AdapterSettings:
    """Adapter settings with the layers that `targets` name in this backbone.

    Args:
        backbone: The backbone.
        rank: Rank of every update.
        alpha: Strength of every update.
        scaling: How alpha and rank give the factor.
        dropout: Dropout on the low-rank path, [0, 1).
        targets: Names of target sets, or patterns of layer names.
        last_blocks: Leave out what lies before the last so many blocks; 0 leaves out nothing.

    Raises:
        TargetError: A target names no layer that can carry an update.
    """
    patterns = choose_patterns(backbone.model, targets)
    layers = find_targets(backbone.model, patterns)
    if last_blocks:
        later = list_last_modules(backbone.model, layers, last_blocks)
        layers = {name: parts for name, parts in layers.items() if name in later}
    return AdapterSettings(
        rank=rank,
        alpha=alpha,
        scaling=scaling,  # type: ignore[arg-type]  # the record checks it
        dropout=dropout,
        layers=layers,
    )


def _is_low_rank_path(network: nn.Module, name: str) -> bool:
    parent, _, leaf = name.rpartition(".")
    owner = network.get_submodule(parent)
    return leaf == "dropout" and (hasattr(owner, "lora_A") or isinstance(owner, FactorisedLayer))
