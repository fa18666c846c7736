"""Ways of computing one layer's updates for a batch of several tasks."""

import copy
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.mixed_contest import Ground, MixedSetting, read_clock
from medlora.lora.linear import find_columns
from medlora.lora.routing import LinearUpdate

GATHERED = "gathered batch product"
GROUPED = "rows grouped by task"
PEFT_LIKE = "as PEFT does"
MERGED = "merged for each group"
STRATEGIES = (GATHERED, GROUPED, MERGED, PEFT_LIKE)
Columns = Mapping[str, slice]
_STRENGTH = 1e-3  # Of random values: updates are added to one output again and again.


class LayerTasks:
    """Low-rank updates of one layer, for tasks by number.

    Attributes:
        downs: (task, input, hidden), all adapted parts side by side.
        ups: For each part (task, rank, output of the part).
        merged: A layer of the same shape whose weight may be written.
    """

    def __init__(self, layer: nn.Linear, columns: Columns, rank: int, n_tasks: int) -> None:
        generator = torch.Generator().manual_seed(0)
        weight, self.columns, self.rank = layer.weight, columns, rank
        self.merged = copy.deepcopy(layer)

        def draw(*shape: int) -> Tensor:
            values = torch.randn(n_tasks, *shape, generator=generator) * _STRENGTH
            return values.to(weight)

        n_hidden = rank * len(columns)
        self.downs = draw(layer.in_features, n_hidden)
        self.ups = [draw(rank, column.stop - column.start) for column in columns.values()]
        # A fused layer is one layer to PEFT: one update over all of its outputs.
        self.peft_down = draw(rank, layer.in_features)
        self.peft_up = draw(layer.out_features, rank)

    def gather(self, rows: slice, numbers: list[int]) -> LinearUpdate:
        """The update of some rows, each with its task; a single number is the task of all."""
        ups = tuple(
            (column, hidden, torch.stack([up[number] for number in numbers]))
            for column, hidden, up in self.parts()
        )
        return LinearUpdate(rows, torch.stack([self.downs[number] for number in numbers]), ups)

    def parts(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """For each adapted part its output columns, its hidden columns, and all its `ups`."""
        for place, (column, up) in enumerate(zip(self.columns.values(), self.ups, strict=True)):
            yield column, slice(place * self.rank, (place + 1) * self.rank), up


def add_gathered(
    layer: nn.Linear, tasks: LayerTasks, numbers: list[int], inputs: Tensor, outputs: Tensor
) -> None:
    """Gather every row's matrices, then one batch product over all rows: the bank's way.

    Rows that all ask one task share its matrices, in the bank as well.
    """
    is_shared = len(set(numbers)) == 1
    update = tasks.gather(slice(0, len(numbers)), numbers[:1] if is_shared else numbers)
    update.apply(layer, inputs, outputs, len(numbers))


def add_grouped(
    layer: nn.Linear, tasks: LayerTasks, numbers: list[int], inputs: Tensor, outputs: Tensor
) -> None:
    """A product for each task, over its rows, which lie side by side."""
    for rows in _find_groups(numbers):
        update = tasks.gather(rows, numbers[rows.start : rows.start + 1])
        update.apply(layer, inputs, outputs, len(numbers))


def add_like_peft(
    layer: nn.Linear, tasks: LayerTasks, numbers: list[int], inputs: Tensor, outputs: Tensor
) -> None:
    """A product for each task, over its rows, which are copied out and added back by index."""
    for number in set(numbers):
        rows = [row for row, other in enumerate(numbers) if other == number]
        hidden = functional.linear(inputs[rows], tasks.peft_down[number])
        outputs[rows] += functional.linear(hidden, tasks.peft_up[number]) * 1.0


def compute_merged(
    layer: nn.Linear, tasks: LayerTasks, numbers: list[int], inputs: Tensor
) -> Tensor:
    """In place of the layer: its weight with the update added, for each group of rows."""
    outputs = []
    for rows in _find_groups(numbers):
        number, weight = numbers[rows.start], tasks.merged.weight
        weight.copy_(layer.weight)
        for column, hidden, up in tasks.parts():
            weight[column].addmm_(up[number].t(), tasks.downs[number][:, hidden].t())
        outputs.append(tasks.merged(inputs[rows]))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


_ADDING: dict[str, Callable[[nn.Linear, LayerTasks, list[int], Tensor, Tensor], None]] = {
    GATHERED: add_gathered,
    GROUPED: add_grouped,
    PEFT_LIKE: add_like_peft,
}


@torch.inference_mode()
def time_strategies(
    ground: Ground, batch_sizes: tuple[int, ...], task_counts: tuple[int, ...], n_repeats: int = 5
) -> list[dict[str, Any]]:
    """Time each strategy on the first adapted layer, as share of the layer's own time.

    The layer computes before every update, so that memory is as it would be in a network.

    Args:
        ground: Gives the network.
        batch_sizes: Images in a batch.
        task_counts: Different tasks in it; more than there are images are left out.
        n_repeats: Turns of every strategy; medians are quoted.

    Returns:
        The result's field `strategies`.
    """
    network = ground.copy_network()
    name, parts = next(iter(ground.adapter.layers.items()))
    layer = network.get_submodule(name)
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"{name} is a {type(layer).__name__}, and a linear layer is needed.")
    columns = find_columns(layer, parts)
    tasks = LayerTasks(layer, columns, ground.setting.rank, max(task_counts))
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(ground.draw_batch(1, 0).images)
    handle.remove()
    results = []
    for batch_size in batch_sizes:
        inputs = seen[0].expand(batch_size, *seen[0].shape[1:]).contiguous()
        for n_distinct in (count for count in task_counts if count <= batch_size):
            numbers = [row * n_distinct // batch_size for row in range(batch_size)]
            seconds = _time_layer(layer, tasks, numbers, inputs, ground.setting, n_repeats)
            results.append({"batch_size": batch_size, "n_distinct": n_distinct, **seconds})
    return results


def _time_layer(
    layer: nn.Linear,
    tasks: LayerTasks,
    numbers: list[int],
    inputs: Tensor,
    setting: MixedSetting,
    n_repeats: int,
) -> dict[str, Any]:
    base: list[float] = []
    extra: dict[str, list[float]] = {name: [] for name in STRATEGIES}
    for turn in range(n_repeats + 1):
        own = []
        for name, add in _ADDING.items():
            start = read_clock(setting)
            outputs = layer(inputs)
            middle = read_clock(setting)
            add(layer, tasks, numbers, inputs, outputs)
            extra[name].append(read_clock(setting) - middle)
            own.append(middle - start)
        start = read_clock(setting)
        compute_merged(layer, tasks, numbers, inputs)
        base.append(median(own))
        extra[MERGED].append(read_clock(setting) - start - base[-1])
        if turn == 0:  # Warms up.
            base.clear()
            for times in extra.values():
                times.clear()
    return {
        "base_seconds": median(base),
        "extra": {
            name: median(time / own for time, own in zip(times, base, strict=True))
            for name, times in extra.items()
        },
    }


def _find_groups(numbers: list[int]) -> list[slice]:
    """Runs of one task."""
    starts = [row for row, number in enumerate(numbers) if row == 0 or number != numbers[row - 1]]
    return [slice(start, stop) for start, stop in pairwise([*starts, len(numbers)])]
