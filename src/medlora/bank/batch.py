"""One batch in which every row may belong to another task."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medlora.bank.answers import Answer, answer_rows
from medlora.bank.held import HeldTask
from medlora.lora.packing import AdapterLayout
from medlora.lora.routed import RoutedNetwork
from medlora.lora.routing import RowUpdate


@dataclass(eq=False)
class BatchPlan:
    """Which rows a batch has: one for each image and adapter.

    Tasks without an adapter share the row of their image, and images the layers before the
    first one that is adapted.

    Attributes:
        images: Number of the image of each row.
        tasks: The task whose adapter each row has; None for the backbone alone.
        questions: For each question (row, task), in the order they were asked.
    """

    images: list[int] = field(default_factory=list)
    tasks: list[HeldTask | None] = field(default_factory=list)
    questions: list[tuple[int, HeldTask]] = field(default_factory=list)


def plan_batch(questions: Sequence[tuple[int, HeldTask]]) -> BatchPlan:
    """The rows that answer some questions, those of one layout and of one task side by side.

    Args:
        questions: Number of an image and a task that is asked about it; no task with a network
            of its own.
    """
    keys = {
        (image, id(task) if task.layout else 0): (image, task if task.layout else None)
        for image, task in questions
    }
    ordered = sorted(keys, key=lambda key: (_name_layout(keys[key][1]), key[1], key[0]))
    places = {key: row for row, key in enumerate(ordered)}
    return BatchPlan(
        images=[keys[key][0] for key in ordered],
        tasks=[keys[key][1] for key in ordered],
        questions=[
            (places[image, id(task) if task.layout else 0], task) for image, task in questions
        ],
    )


@torch.inference_mode()
def answer_batch(
    network: RoutedNetwork, images: Tensor, questions: Sequence[tuple[int, HeldTask]]
) -> list[Answer]:
    """Answer questions about the images of a batch, in the questions' order.

    Args:
        network: The bank's network.
        images: Normalised, in the network's type, (image, 3, height, width).
        questions: Number of an image and a task that is asked about it.
    """
    answers: dict[int, Answer] = {}
    shared = [(place, q) for place, q in enumerate(questions) if q[1].model is None]
    if shared:
        plan = plan_batch([question for _, question in shared])
        rows = torch.tensor(plan.images, device=images.device)
        features = network.compute(images, rows, _collect_updates(plan.tasks))
        chosen = features[[row for row, _ in plan.questions]]
        found = answer_rows(chosen, [task for _, task in plan.questions])
        answers.update(zip([place for place, _ in shared], found, strict=True))
    for task, places in _group_private(questions).items():
        if task.model is not None:
            own = images[[questions[place][0] for place in places]]
            found = answer_rows(task.model.extract_features(own), [task] * len(places))
            answers.update(zip(places, found, strict=True))
    return [answers[place] for place in range(len(questions))]


def _collect_updates(tasks: Sequence[HeldTask | None]) -> dict[str, list[RowUpdate]]:
    """The updates of each layer, for runs of rows with one layout."""
    updates: dict[str, list[RowUpdate]] = {}
    start = 0
    while start < len(tasks):
        layout = _get_layout(tasks[start])
        stop = start
        while stop < len(tasks) and _get_layout(tasks[stop]) is layout:
            stop += 1
        if layout is not None:
            packed = [task.packed for task in tasks[start:stop] if task and task.packed is not None]
            is_shared = all(row is packed[0] for row in packed)
            stacked = packed[0][None] if is_shared else torch.stack(packed)
            for layer, update in layout.read(stacked, slice(start, stop)).items():
                updates.setdefault(layer, []).append(update)
        start = stop
    return updates


def _get_layout(task: HeldTask | None) -> AdapterLayout | None:
    return task.layout if task else None


def _name_layout(task: HeldTask | None) -> int:
    return id(task.layout) if task else 0


def _group_private(questions: Sequence[tuple[int, HeldTask]]) -> dict[HeldTask, list[int]]:
    groups: dict[HeldTask, list[int]] = {}
    for place, (_, task) in enumerate(questions):
        if task.model is not None:
            groups.setdefault(task, []).append(place)
    return groups
