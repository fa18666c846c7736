"""When a task's answer should not be used, and why: abstaining as an answer of its own."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medlora.evaluate.conformal import PredictionSets, SetLimits, find_sets
from medlora.evaluate.inputs import Bools, Floats
from medlora.evaluate.metrics import decide
from medlora.evaluate.novelty import UNLIKE, is_unlike
from medlora.task.card import TaskCard

NO_CLASS = "no class is likely enough"


@dataclass(frozen=True)
class Reservation:
    """What stands beside an answer: whether it should be used, and what cannot be ruled out.

    Attributes:
        abstain: Why the answer should not be used; empty where nothing speaks against it.
        prediction_set: The classes that cannot be ruled out at the task's coverage; None where
            the task has no prediction sets.
        undecided: Of a multi-label task, the labels that its sets leave open: of which neither
            presence nor absence can be ruled out, or both are, or the one that was decided for.
        novelty: How unlike the training images the image is, at least 0, above 1 where it is;
            None where the task keeps nothing of them.
    """

    abstain: str = ""
    prediction_set: tuple[str, ...] | None = None
    undecided: tuple[str, ...] = ()
    novelty: float | None = None


def judge_answers(
    card: TaskCard, probabilities: Floats, novelty: Floats | None = None
) -> list[Reservation]:
    """What has to stand beside a task's answers; the answers themselves do not change.

    A single-label task abstains where the prediction set does not hold exactly one class, or
    another one than the thresholds decide for. A multi-label task leaves a label open where the
    label's set does the same, and abstains where no label at all is decided. Every task
    abstains where an image is unlike its training images.

    Args:
        card: The task's card.
        probabilities: (image, class), in [0, 1].
        novelty: (image,) scores by `medlora.evaluate.novelty`; None where there are none.

    Returns:
        One for each image.
    """
    sets = find_card_sets(card, probabilities)
    if sets is None and novelty is None:
        return [Reservation()] * len(probabilities)
    decisions = decide(probabilities, card.thresholds, card.multi_label)
    is_open = find_open_labels(sets, decisions)
    found = []
    for row in range(len(probabilities)):
        score = None if novelty is None else float(novelty[row])
        reasons = _list_reasons(card, sets, decisions, is_open, row, score)
        found.append(
            Reservation(
                abstain="; ".join(reasons),
                prediction_set=None if sets is None else _name(card, sets.present[row]),
                undecided=_name(card, is_open[row]),
                novelty=score,
            )
        )
    return found


def find_open_labels(sets: PredictionSets | None, decisions: Bools) -> Bools:
    """(image, class) labels of a multi-label task whose decision its set does not bear out.

    The set holds both answers, or none, or the one that was not decided for: a threshold asks
    which answer is likelier, a set which one is unusual among the images that have the label.

    Args:
        sets: The images' prediction sets; None where the task has none.
        decisions: (image, class), as taken by the thresholds.
    """
    if sets is None or sets.absent is None:
        return np.zeros_like(decisions)
    is_open: Bools = (sets.present != decisions) | (sets.absent == decisions)
    return is_open


def find_card_sets(card: TaskCard, probabilities: Floats) -> PredictionSets | None:
    """The prediction sets of a task's answers; None where the task has none.

    Args:
        card: The task's card.
        probabilities: (image, class), in [0, 1].
    """
    if card.conformal is None:
        return None
    return find_sets(probabilities, SetLimits(card.conformal.least, card.conformal.most))


def _list_reasons(
    card: TaskCard,
    sets: PredictionSets | None,
    decisions: Bools,
    is_open: Bools,
    row: int,
    novelty: float | None,
) -> Iterator[str]:
    """Every reason to abstain from an image's answer, the weightiest first.

    This is the one place where reasons are put together, and where a new one belongs.
    """
    if novelty is not None and is_unlike(novelty):
        yield UNLIKE
    if sets is None:
        return
    if card.multi_label:
        if is_open[row].all():
            yield "no label can be decided"
    else:
        yield from _question_set(_name(card, sets.present[row]), _name(card, decisions[row]))


def _question_set(names: tuple[str, ...], decided: tuple[str, ...]) -> Iterator[str]:
    """What speaks against a decision for one class, by the classes of the prediction set."""
    if not names:
        yield NO_CLASS
    elif len(names) > 1:
        yield f"undecided between {' and '.join([', '.join(names[:-1]), names[-1]])}"
    elif names != decided:
        yield f"the prediction set holds {names[0]} alone"


def _name(card: TaskCard, chosen: Bools) -> tuple[str, ...]:
    return tuple(card.classes[place] for place in np.flatnonzero(chosen))
