"""One batch in which every row may belong to another task."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from medlora.backbones.observing import summarise_hidden
from medlora.bank.answers import Answer, answer_rows
from medlora.bank.held import HeldTask
from medlora.bank.merged import MergedTasks
from medlora.lora.packing import AdapterLayout
from medlora.lora.routed import RoutedNetwork
from medlora.lora.routing import RowUpdate


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """Which rows a batch has: one for each image and adapter.

    Tasks without an adapter share the row of their image, and images the layers before the
    first one that is adapted.

    Attributes:
        images: Number of the image of each row.
        tasks: The task whose adapter each row has; None for the backbone alone.
        questions: For each question (row, task), in the order they were asked.
    """

    images: list[int]
    tasks: list[HeldTask | None]
    questions: list[tuple[int, HeldTask]]


def order_row(question: tuple[int, HeldTask | None]) -> tuple[int, int, int]:
    """Where a row stands in its batch: beside those of its layout, of its task, of its image.

    Args:
        question: Number of an image, and the task that is asked about it.
    """
    image, task = question
    return id(_get_layout(task)), id(task), image


def plan_batch(questions: Sequence[tuple[int, HeldTask]]) -> BatchPlan:
    """The rows that answer some questions, those of one layout and of one task side by side.

    Args:
        questions: Number of an image and a task that is asked about it; no task with a network
            of its own.
    """
    wanted = [(image, task if task.layout else None) for image, task in questions]
    rows = sorted(dict.fromkeys(wanted), key=order_row)
    places = {row: place for place, row in enumerate(rows)}
    return BatchPlan(
        images=[image for image, _ in rows],
        tasks=[task for _, task in rows],
        questions=[(places[row], task) for row, (_, task) in zip(wanted, questions, strict=True)],
    )


@torch.inference_mode()
def answer_batch(
    network: RoutedNetwork,
    images: Tensor,
    questions: Sequence[tuple[int, HeldTask]],
    *,
    merged: MergedTasks,
    channels_at_end: bool = False,
) -> list[Answer]:
    """Answer questions about the images of a batch, in the questions' order.

    Args:
        network: The bank's network.
        images: Normalised, in the network's type, (image, 3, height, width).
        questions: Number of an image and a task that is asked about it.
        merged: Has the weights that answer a batch of one task alone.
        channels_at_end: Where a picture inside the network has its channels.
    """
    answers: dict[int, Answer] = {}
    shared: list[int] = []
    private: dict[HeldTask, list[int]] = {}
    for place, (_, task) in enumerate(questions):
        (shared if task.model is None else private.setdefault(task, [])).append(place)
    if shared:
        plan = plan_batch([questions[place] for place in shared])
        rows = torch.tensor(plan.images)
        asked = [task for _, task in plan.questions]
        weights = merged.find(plan.tasks)
        updates = {} if weights else _collect_updates(plan.tasks)
        features, seen = network.compute_observed(
            images,
            rows,
            updates,
            _list_places(asked),
            partial(summarise_hidden, channels_at_end=channels_at_end),
            merged=weights,
        )
        order = [row for row, _ in plan.questions]
        descriptions = {place: own[order] for place, own in seen.items()}
        found = answer_rows(features[order], asked, descriptions)
        answers.update(zip(shared, found, strict=True))
    for task, places in private.items():
        if task.model is not None:
            own = images[[questions[place][0] for place in places]]
            if task.measure is None:
                found = answer_rows(task.model.extract_features(own), [task] * len(places), {})
            else:
                features, description = task.model.observe(own, task.measure.place)
                described = {task.measure.place: description}
                found = answer_rows(features, [task] * len(places), described)
            answers.update(zip(places, found, strict=True))
    return [answers[place] for place in range(len(questions))]


def _list_places(tasks: Sequence[HeldTask]) -> tuple[str, ...]:
    """The modules whose input tells how unlike its training images an image is."""
    return tuple(dict.fromkeys(task.measure.place for task in tasks if task.measure))


def _collect_updates(tasks: Sequence[HeldTask | None]) -> dict[str, list[RowUpdate]]:
    """The updates of each layer, for runs of rows with one layout."""
    updates: dict[str, list[RowUpdate]] = {}
    start = 0
    for layout, run in groupby(tasks, key=_get_layout):
        members = list(run)
        rows = slice(start, start + len(members))
        start = rows.stop
        if layout is None:
            continue
        packed = [task.packed for task in members if task and task.packed is not None]
        is_shared = all(row is packed[0] for row in packed)
        stacked = packed[0][None] if is_shared else torch.stack(packed)
        for layer, update in layout.read(stacked, rows).items():
            updates.setdefault(layer, []).append(update)
    return updates


def _get_layout(task: HeldTask | None) -> AdapterLayout | None:
    return task.layout if task else None
