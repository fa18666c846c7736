"""Images with what a task answers, and where in them the answer comes from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from medlora.data.geometry import trace_placement
from medlora.data.image import decode_image, normalise_batch, prepare_image
from medlora.data.source import ImageSource
from medlora.errors import SettingsError
from medlora.evaluate.abstaining import Reservation, judge_answers
from medlora.evaluate.answers import answer_batch
from medlora.evaluate.heat_maps import (
    MapMethod,
    choose_map_method,
    compute_heat_map,
)
from medlora.evaluate.metrics import decide
from medlora.evaluate.predict import convert_logits
from medlora.runs.opened import OpenedTask
from medlora.runs.scoring import join_names
from medlora.task.card import TaskCard


@dataclass(frozen=True, eq=False)
class Explanation:
    """One image explained.

    Attributes:
        location: The image.
        picture: As decoded, RGB (height, width, 3); of several series, the first.
        heat_map: Shape (height, width), in [0, 1]: how much each pixel speaks for the class, 1 for
            the one that speaks most; 0 where the network did not look.
        class_name: The class that is explained.
        probability: What the task gave to it, in [0, 1].
        decision: What the task decided; of several labels, joined by a vertical bar.
        method: How it was explained.
        reservation: Whether the answer should be used at all, and why not.
    """

    location: str
    picture: npt.NDArray[np.uint8]
    heat_map: npt.NDArray[np.float32]
    class_name: str
    probability: float
    decision: str
    method: str
    reservation: Reservation


def explain_images(
    task: OpenedTask,
    source: ImageSource,
    locations: Iterable[str],
    *,
    class_name: str | None = None,
    method: MapMethod = "auto",
) -> Iterator[Explanation]:
    """Explain a task's answers, an image at a time.

    The map lies over the picture as it was decoded: resizing, the crop to the middle and the crop
    to the body are undone.

    Args:
        task: The task, or an ensemble, whose members' maps are averaged.
        source: Where the images are.
        locations: The images.
        class_name: The class to explain; that which the task decides for where None. Of several
            labels that is the one furthest above its threshold.
        method: `auto`, `grad-cam`, `attention` or `integrated-gradients`.

    Raises:
        SettingsError: The task has no such class, or a package is missing.
        BackboneError: The network cannot be explained by this method.
        UnreadableImageError: An image cannot be read.
    """
    card = task.card
    if class_name is not None and class_name not in card.classes:
        raise SettingsError(
            f"The task {card.name!r} has no class {class_name!r}; its classes are "
            f"{', '.join(card.classes)}."
        )
    chosen = choose_map_method(task.model, method)
    for location in locations:
        pixels = decode_image(source.read_bytes(location), location)
        yield _explain(task, pixels, location, class_name, chosen)


def choose_class(probabilities: npt.NDArray[np.float64], card: TaskCard) -> int:
    """Number of the class that a task decides for, or comes nearest to deciding for.

    Args:
        probabilities: (class,), in [0, 1].
        card: The task's card, for its thresholds.
    """
    return int((probabilities / np.array(card.thresholds)).argmax())


def _explain(
    task: OpenedTask,
    pixels: npt.NDArray[np.uint8],
    location: str,
    class_name: str | None,
    method: MapMethod,
) -> Explanation:
    card = task.card
    prepared = torch.from_numpy(prepare_image(pixels, card.preprocessing)[np.newaxis])
    found = answer_batch(task.model, prepared, card.preprocessing, measures=task.measures)
    answers = convert_logits(found.logits, multi_label=card.multi_label)
    (reservation,) = judge_answers(card, answers, found.novelty)
    (decided,) = decide(answers, card.thresholds, card.multi_label)
    (probabilities,) = answers
    target = (
        choose_class(probabilities, card) if class_name is None else card.classes.index(class_name)
    )
    prepared = prepared.to(task.device)
    grid = compute_heat_map(
        task.model,
        normalise_batch(prepared, card.preprocessing),
        target,
        multi_label=card.multi_label,
        method=method,
        empty=normalise_batch(torch.zeros_like(prepared), card.preprocessing),
    )
    placement = trace_placement(pixels, card.preprocessing)
    return Explanation(
        location=location,
        picture=pixels[0] if pixels.ndim == 4 else pixels,
        heat_map=placement.lay_out(grid),
        class_name=card.classes[target],
        probability=float(probabilities[target]),
        decision=join_names(card.classes, decided),
        method=method,
        reservation=reservation,
    )
