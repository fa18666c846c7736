"""Ways of answering a batch in which every row may ask another task.

Peers are called as their documentation shows. Where one makes a choice of speed possible, the
faster way is taken: adapters of PEFT's in the network's type, and heads of one size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.mixed_contest import Batch, Entrant, Ground, MixedSetting, name_task
from medlora.backbones.spec import find_chain
from medlora.bank.batch import BatchPlan, plan_batch
from medlora.bank.held import hold_task
from medlora.lora.attach import merge_adapters
from medlora.lora.routed import RoutedNetwork
from medlora.lora.routing import RowUpdate
from medlora.task.opening import build_model

N_PEER_CLASSES = 2


BARE = "Bare backbone"
FROZEN = "Bare backbone, frozen layers"
BANK = "MedLoRA's bank"
ROUTED = "MedLoRA's network alone"
PEFT_MIXED = "PEFT, mixed batch"
PEFT_SWITCHED = "PEFT, `set_adapter`"
MERGED = "Merged models"


@dataclass(frozen=True)
class Contestant:
    """One way of answering.

    Attributes:
        kind: What the table calls the way.
        n_tasks: How many tasks it holds; 0 for a backbone without any.
    """

    kind: str
    n_tasks: int = 0

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.kind}, {count_tasks(self.n_tasks)}" if self.n_tasks else self.kind

    @property
    def how(self) -> str:
        """How it is called."""
        return _CALLS[self.kind][0]

    def build(self, ground: Ground) -> Entrant:
        """Make it ready."""
        return _CALLS[self.kind][1](ground, self.n_tasks)


def order_kinds() -> list[str]:
    """The ways, in the order in which a table names them."""
    return list(_CALLS)


def count_tasks(n_tasks: int) -> str:
    """A number of tasks in words.

    Example:
        >>> count_tasks(1), count_tasks(1000)
        ('1 task', '1,000 tasks')
    """
    return "1 task" if n_tasks == 1 else f"{n_tasks:,} tasks"


def list_contestants(setting: MixedSetting) -> list[Contestant]:
    """Who takes part, in the order of the first round.

    The bare backbone is in the midst of the banks, so that little time lies between those that
    are compared.
    """
    banks = [Contestant(BANK, n_tasks) for n_tasks in setting.task_counts]
    half = len(banks) // 2
    ours = [
        *banks[:half],
        Contestant(BARE),
        *banks[half:],
        Contestant(ROUTED, max(setting.task_counts)),
        Contestant(FROZEN),
    ]
    if setting.every_row_differs:
        return [*ours, Contestant(PEFT_MIXED, setting.many)]
    return [
        *ours,
        Contestant(PEFT_MIXED, setting.few),
        Contestant(PEFT_MIXED, setting.many),
        Contestant(PEFT_SWITCHED, setting.few),
        Contestant(MERGED, setting.few),
    ]


def build_bare(ground: Ground, n_tasks: int) -> Entrant:
    """The backbone as timm builds it; its answer is the features of a batch that lies ready."""
    network = ground.backbone.model
    return Entrant(lambda batch: network(batch.images), n_tasks)


def build_frozen(ground: Ground, n_tasks: int) -> Entrant:
    """The same with this project's frozen linear layers."""
    network = ground.copy_network()
    return Entrant(lambda batch: network(batch.images), n_tasks)


def build_bank(ground: Ground, n_tasks: int) -> Entrant:
    """The bank as a server calls it: pixels in, probabilities and decisions out."""
    bank = ground.fill_bank(n_tasks)
    names = [name_task(number) for number in range(n_tasks)]

    def answer(batch: Batch) -> object:
        asked = [(names[number],) for number in batch.tasks]
        return bank.predict_prepared(batch.prepared, asked, batch_size=len(asked))

    return Entrant(answer, n_tasks, bank.n_bytes / n_tasks)


def build_routed(ground: Ground, n_tasks: int) -> Entrant:
    """The network inside a bank: a batch that lies ready in, features out."""
    network = RoutedNetwork(ground.copy_network(), find_chain(ground.backbone.model))
    held = [
        hold_task(
            ground.draw_task(number),
            ground.backbone,
            network,
            place="memory",
            dtype=ground.dtype,
            device=ground.device,
        )
        for number in range(n_tasks)
    ]

    def answer(batch: Batch) -> Tensor:
        plan = plan_batch([(row, held[number]) for row, number in enumerate(batch.tasks)])
        rows = torch.tensor(plan.images, device=ground.device)
        features = network.compute(batch.images, rows, _read_updates(plan))
        return features[[row for row, _ in plan.questions]]

    return Entrant(answer, n_tasks)


def build_peft_mixed(ground: Ground, n_tasks: int) -> Entrant:
    """PEFT's mixed batch: `adapter_names` at the call."""
    model = _build_peft(ground, n_tasks)

    def answer(batch: Batch) -> Tensor:
        names = [name_task(number) for number in batch.tasks]
        logits: Tensor = model(batch.images, adapter_names=names)
        return logits

    return Entrant(answer, n_tasks, _weigh_peft(model) / n_tasks)


def build_peft_switched(ground: Ground, n_tasks: int) -> Entrant:
    """PEFT with one active adapter: `set_adapter` for each group of rows."""
    model = _build_peft(ground, n_tasks)

    def answer_group(number: int, images: Tensor) -> Tensor:
        model.set_adapter(name_task(number))
        logits: Tensor = model(images)
        return logits

    return Entrant(
        partial(_answer_groups, answer_group), n_tasks, bytes_per_task=_weigh_peft(model) / n_tasks
    )


def build_merged(ground: Ground, n_tasks: int) -> Entrant:
    """One merged model for each task."""
    models = []
    for number in range(n_tasks):
        task = ground.draw_task(number)
        model = build_model(
            task, ground.backbone, place="memory", dtype=ground.dtype, device=ground.device
        )
        models.append(merge_adapters(model).requires_grad_(False).eval())

    def answer_group(number: int, images: Tensor) -> Tensor:
        logits: Tensor = models[number](images)
        return logits

    size = sum(_count_bytes(tensor) for tensor in models[0].parameters())
    return Entrant(partial(_answer_groups, answer_group), n_tasks, bytes_per_task=size)


def _read_updates(plan: BatchPlan) -> dict[str, list[RowUpdate]]:
    """The updates of a batch whose tasks all have one layout."""
    held = [task for task in plan.tasks if task is not None]
    packed = [task.packed for task in held if task.packed is not None]
    layout = held[0].layout
    if layout is None:
        raise ValueError("A task without an adapter has no update.")
    is_shared = all(row is packed[0] for row in packed)
    stacked = packed[0][None] if is_shared else torch.stack(packed)
    updates = layout.read(stacked, slice(0, len(packed)))
    return {name: [update] for name, update in updates.items()}


def _answer_groups(answer_group: Callable[[int, Tensor], Tensor], batch: Batch) -> list[Tensor]:
    """Answers of a batch's rows, in its order, of one group of rows for each task."""
    groups: dict[int, list[int]] = {}
    for row, number in enumerate(batch.tasks):
        groups.setdefault(number, []).append(row)
    answers: dict[int, Tensor] = {}
    for number, rows in groups.items():
        answers.update(zip(rows, answer_group(number, batch.images[rows]), strict=True))
    return [answers[row] for row in range(len(batch.tasks))]


def _build_peft(ground: Ground, n_tasks: int) -> Any:
    """PEFT on a timm model, as PEFT's guide to image classification with timm has it."""
    import peft
    import timm

    name, rank = ground.setting.backbone, ground.setting.rank
    model = timm.create_model(name, pretrained=False, num_classes=N_PEER_CLASSES)
    model = model.to(ground.dtype).to(ground.device)
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=r".*\.attn\.qkv",
        modules_to_save=["head"],
        init_lora_weights=False,
    )
    adapted: Any = peft.get_peft_model(
        model, config, adapter_name=name_task(0), autocast_adapter_dtype=False
    )
    for number in range(1, n_tasks):
        adapted.add_adapter(name_task(number), config, autocast_adapter_dtype=False)
    return adapted.to(ground.dtype).to(ground.device).eval()


def _weigh_peft(model: nn.Module) -> int:
    return sum(
        _count_bytes(tensor)
        for name, tensor in model.named_parameters()
        if "lora_" in name or "modules_to_save" in name
    )


def _count_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


_CALLS: dict[str, tuple[str, Callable[[Ground, int], Entrant]]] = {
    BARE: (
        "`timm.create_model(num_classes=0)`, `torch.inference_mode`, a normalised batch that lies "
        "ready; gives features",
        build_bare,
    ),
    FROZEN: ("the bare backbone after `freeze_linears`", build_frozen),
    BANK: (
        "`TaskBank.predict_prepared`: from pixels to probabilities and decisions, every head of "
        "its own size",
        build_bank,
    ),
    ROUTED: ("`RoutedNetwork.compute` on the batch of the bare backbone; features", build_routed),
    PEFT_MIXED: (
        "`get_peft_model` with `target_modules=r'.*\\.attn\\.qkv'`, `modules_to_save=['head']`, "
        f"everything in the backbone's type, {N_PEER_CLASSES} classes each; "
        "`model(images, adapter_names=[...])`",
        build_peft_mixed,
    ),
    PEFT_SWITCHED: (
        "the same model; `model.set_adapter(name)`, then `model(rows)`, for each task's rows",
        build_peft_switched,
    ),
    MERGED: ("`merge_adapters`, one network for each task, called with its rows", build_merged),
}
