"""What a bank answers, and how logits of many tasks become answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medlora.bank.held import HeldTask
from medlora.evaluate.abstaining import judge_answers
from medlora.evaluate.metrics import decide
from medlora.evaluate.novelty import NoveltyMeasure
from medlora.task.opening import compute_probabilities


@dataclass(frozen=True)
class Answer:
    """One task's answer about one image.

    Attributes:
        task: Name of the task.
        classes: Its classes.
        probabilities: One for each class, in [0, 1].
        decision: The classes that are chosen by the task's thresholds: one in a single-label
            task, any number in a multi-label one.
        abstain: Why the answer should not be used; empty where nothing speaks against it.
        prediction_set: The classes that cannot be ruled out at the task's coverage; None where
            the task has no prediction sets.
        undecided: Labels of a multi-label task that its sets leave open.
        novelty: How unlike the task's training images the image is, above 1 where it is; None
            where the task keeps nothing of them.
    """

    task: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    decision: tuple[str, ...]
    abstain: str = ""
    prediction_set: tuple[str, ...] | None = None
    undecided: tuple[str, ...] = ()
    novelty: float | None = None


def answer_rows(
    features: Tensor, tasks: Sequence[HeldTask], descriptions: Mapping[str, Tensor]
) -> list[Answer]:
    """The answers of the rows of a batch.

    Args:
        features: Float (row, feature).
        tasks: The task of each row.
        descriptions: (row, value) by the module that they describe, of every module that a
            task's measure of novelty wants.
    """
    scores = _score_novelty(tasks, descriptions)
    groups: dict[tuple[int, bool], list[int]] = {}
    for row, task in enumerate(tasks):
        card = task.card
        groups.setdefault((len(card.classes), card.multi_label), []).append(row)
    answers: dict[int, Answer] = {}
    for (_, multi_label), rows in groups.items():
        weights = torch.stack([tasks[row].head for row in rows])
        biases = torch.stack([tasks[row].bias for row in rows])
        logits = torch.baddbmm(biases[:, None], features[rows].float()[:, None], weights)[:, 0]
        probabilities = compute_probabilities(logits, multi_label=multi_label).cpu().numpy()
        own: dict[HeldTask, list[int]] = {}
        for place, row in enumerate(rows):
            own.setdefault(tasks[row], []).append(place)
        for task, places in own.items():
            asked = [rows[place] for place in places]
            found = _decide(task, probabilities[places], [scores.get(row) for row in asked])
            answers.update(zip(asked, found, strict=True))
    return [answers[row] for row in range(len(tasks))]


def _score_novelty(
    tasks: Sequence[HeldTask], descriptions: Mapping[str, Tensor]
) -> dict[int, float]:
    """Scores of novelty by row, of those whose task has a measure."""
    groups: dict[NoveltyMeasure, list[int]] = {}
    for row, task in enumerate(tasks):
        if task.measure is not None:
            groups.setdefault(task.measure, []).append(row)
    scores: dict[int, float] = {}
    for measure, rows in groups.items():
        found = measure.score(descriptions[measure.place][rows])
        scores.update(zip(rows, found.tolist(), strict=True))
    return scores


def _decide(
    task: HeldTask,
    probabilities: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
    scores: Sequence[float | None],
) -> list[Answer]:
    """A task's answers about some images, given (image, class) probabilities."""
    card = task.card
    decisions = decide(probabilities, card.thresholds, card.multi_label)
    novelty = None if task.measure is None else np.array(scores, dtype=float)
    reservations = judge_answers(card, probabilities, novelty)
    return [
        Answer(
            task=card.name,
            classes=card.classes,
            probabilities=tuple(values),
            decision=tuple(name for name, is_in in zip(card.classes, chosen, strict=True) if is_in),
            abstain=reservation.abstain,
            prediction_set=reservation.prediction_set,
            undecided=reservation.undecided,
            novelty=reservation.novelty,
        )
        for values, chosen, reservation in zip(
            probabilities.tolist(), decisions, reservations, strict=True
        )
    ]
