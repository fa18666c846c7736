"""What all contestants of mixed batches stand on, and how they take turns."""

import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from medlora.backbones.copying import copy_network
from medlora.backbones.linear import freeze_linears
from medlora.backbones.weights import load_backbone
from medlora.bank.bank import TaskBank
from medlora.bank.pixels import PreparedImage, name_pixels
from medlora.data.image import normalise_batch
from medlora.task.card import BackboneReference, TaskCard
from medlora.task.file import Task
from medlora.task.model import TaskModel, plan_adapter
from medlora.task.precision import DTYPES, choose_precision

_CREATED = "2026-01-31T12:00:00+00:00"
_STRENGTH = 0.02  # Of random values, so that features stay finite in bf16.


@dataclass(frozen=True)
class MixedSetting:
    """What is measured on one network.

    Attributes:
        backbone: timm's model name; its weights are drawn at random.
        device: `cpu` or `cuda`.
        rank: Rank of the adapters, on query and value.
        batch_sizes: Images in a batch.
        task_counts: How many tasks the banks hold.
        few: Tasks of the peers, the fewer of two counts.
        many: The other.
        n_rounds: Turns of every contestant.
        n_close_rounds: Further turns of those whose ratio has an aim: an aim that lies within a
            few hundredths of 1 asks for more turns than a factor does.
        turn_seconds: A turn is as many passes as the bare backbone makes in this time, one at
            least.
        clock: `wall`, or `processor` for the time that all threads of the process take.
        every_row_differs: Whether no two rows of a batch ask the same task.
    """

    backbone: str = "vit_base_patch16_224"
    device: str = "cpu"
    rank: int = 4
    batch_sizes: tuple[int, ...] = (16, 64)
    task_counts: tuple[int, ...] = (1, 4, 64, 1000)
    few: int = 4
    many: int = 64
    n_rounds: int = 3
    n_close_rounds: int = 0
    turn_seconds: float = 1.0
    clock: Literal["wall", "processor"] = "wall"
    every_row_differs: bool = False


@dataclass(frozen=True)
class Batch:
    """One batch in every form that a contestant may want.

    Attributes:
        images: Normalised, in the network's type and on its device, (row, 3, height, width).
        prepared: The same images before normalisation, as a bank takes them.
        tasks: The number of the task that each row asks.
    """

    images: Tensor
    prepared: list[PreparedImage]
    tasks: list[int]


@dataclass(frozen=True)
class Entrant:
    """A contestant that is built.

    Attributes:
        answer: Answers one batch.
        n_tasks: How many tasks it holds; 0 for a backbone without any.
        bytes_per_task: Memory that one of them takes beside the backbone.
    """

    answer: Callable[[Batch], object]
    n_tasks: int = 0
    bytes_per_task: float | None = None


class Ground:
    """One frozen network in the precision of the device, tasks for it, and images.

    All contestants but PEFT's share its tensors.

    Attributes:
        setting: What is measured.
        precision: `bf16`, or `fp32` where the device has no bf16.
        backbone: The backbone, its network in that precision and on the device.
    """

    def __init__(self, setting: MixedSetting) -> None:
        self.setting = setting
        self.device = torch.device(setting.device)
        self.precision = choose_precision("auto", self.device)
        self.dtype = DTYPES[self.precision]
        backbone = load_backbone(setting.backbone, "random")
        network = copy_network(backbone.model, self.dtype, share=True).to(self.device)
        self.backbone = replace(backbone, model=network)
        self.adapter = plan_adapter(backbone, rank=setting.rank, alpha=float(setting.rank))
        model = TaskModel(backbone, 2, method="lora", adapter=self.adapter)
        self._shapes = {
            name: tensor.shape
            for name, tensor in model.named_trainable().items()
            if name.startswith("adapter.")
        }
        self._banks: dict[int, TaskBank] = {}
        generator = torch.Generator().manual_seed(0)
        size = (max(setting.batch_sizes), 3, *backbone.preprocessing.size)
        pixels = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
        key = name_pixels(backbone.preprocessing)
        self._prepared: list[PreparedImage] = [{key: image} for image in pixels]
        ready = normalise_batch(pixels, backbone.preprocessing, self.dtype)
        self._images = ready.to(self.device)

    def draw_task(self, number: int) -> Task:
        """The task of that number: 2 to 5 classes, every third multi-label, values at random."""
        generator = torch.Generator().manual_seed(number)
        n_classes = 2 + number % 4
        shapes = self._shapes | {
            "head.weight": torch.Size([n_classes, self.backbone.n_features]),
            "head.bias": torch.Size([n_classes]),
        }
        card = TaskCard(
            name=name_task(number),
            classes=tuple(f"class {place}" for place in range(n_classes)),
            multi_label=number % 3 == 2,
            method="lora",
            backbone=BackboneReference(self.backbone.name, self.backbone.fingerprint),
            preprocessing=self.backbone.preprocessing,
            adapter=self.adapter,
            thresholds=(0.5,) * n_classes,
            created=_CREATED,
        )
        return Task(
            card,
            {
                name: torch.randn(shape, generator=generator) * _STRENGTH
                for name, shape in shapes.items()
            },
        )

    def copy_network(self) -> nn.Module:
        """The network with modules of its own and this project's frozen linear layers."""
        network = copy_network(self.backbone.model, self.dtype, share=True).eval()
        freeze_linears(network)
        return network

    def make_bank(self) -> TaskBank:
        """An empty bank."""
        return TaskBank(self.backbone, dtype=self.dtype, device=self.device)

    def fill_bank(self, n_tasks: int) -> TaskBank:
        """A bank that holds the first so many tasks; the same one for the same number."""
        if n_tasks not in self._banks:
            bank = self.make_bank()
            for number in range(n_tasks):
                bank.add(self.draw_task(number))
            self.lend_bank(bank)
        return self._banks[n_tasks]

    def lend_bank(self, bank: TaskBank) -> None:
        """Let contestants use a bank that was filled with the first tasks elsewhere."""
        self._banks[len(bank.names)] = bank

    def draw_batch(self, n_rows: int, n_tasks: int) -> Batch:
        """A batch in which every row asks a random one of the first tasks, always the same.

        Args:
            n_rows: Images in it.
            n_tasks: Tasks to choose from; 0 where nobody is asked.
        """
        random = np.random.default_rng([n_rows, n_tasks])
        if self.setting.every_row_differs and n_tasks:
            tasks = random.permutation(n_tasks)[:n_rows]
        else:
            tasks = random.integers(max(n_tasks, 1), size=n_rows)
        return Batch(self._images[:n_rows], self._prepared[:n_rows], tasks.tolist())


def name_task(number: int) -> str:
    """What the bank and the peers call a task."""
    return f"task_{number}"


def take_turns(
    entrants: Mapping[str, Entrant],
    ground: Ground,
    batch_size: int,
    reference: str,
    close: Collection[str] = (),
) -> tuple[dict[str, list[float]], int]:
    """Let contestants answer batches of one size, round after round.

    Each answers its own batch once or twice before anything counts. Every second round is held
    in the opposite order, so that what changes slowly falls on all alike.

    Args:
        entrants: The contestants by name.
        ground: What they were built on.
        batch_size: Images in a batch.
        reference: Name of the one whose pace decides how many passes are a turn.
        close: Names of those that take part in the close rounds, which follow upon the others.

    Returns:
        Images per second of each contestant in each of its rounds, and the passes of a turn.
    """
    setting = ground.setting
    batches = {
        name: ground.draw_batch(batch_size, entrant.n_tasks) for name, entrant in entrants.items()
    }

    def time_turn(name: str, n_passes: int) -> float:
        answer, batch = entrants[name].answer, batches[name]
        return time_passes(lambda: answer(batch), n_passes, setting)

    seconds = {}
    for name in entrants:
        seconds[name] = time_turn(name, 1)
        if seconds[name] < setting.turn_seconds:
            seconds[name] = time_turn(name, 1)
    n_passes = max(1, round(setting.turn_seconds / seconds[reference]))
    speeds: dict[str, list[float]] = {name: [] for name in entrants}
    some = [name for name in entrants if name in close]
    rounds = [list(entrants)] * setting.n_rounds + [some] * setting.n_close_rounds
    for number, names in enumerate(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            speeds[name].append(batch_size / time_turn(name, n_passes))
            place = f"batches of {batch_size}, round {number + 1} of {len(rounds)}"
            print(f"{place}: {name}: {speeds[name][-1]:.2f} images/s", file=sys.stderr)
    return speeds, n_passes


@torch.inference_mode()
def time_passes(run: Callable[[], object], n_passes: int, setting: MixedSetting) -> float:
    """Mean seconds of some calls in a row, without gradients."""
    start = read_clock(setting)
    for _ in range(n_passes):
        run()
    return (read_clock(setting) - start) / n_passes


def read_clock(setting: MixedSetting) -> float:
    """Seconds on the setting's clock, once the device has done everything that it was given."""
    if setting.device == "cuda":
        torch.cuda.synchronize()
    return time.process_time() if setting.clock == "processor" else time.perf_counter()
