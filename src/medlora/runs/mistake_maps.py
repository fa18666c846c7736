"""Heat maps beside the mistakes of a report."""

from collections.abc import Sequence

import numpy as np
import torch

from medlora.data.geometry import cover_input
from medlora.data.image import normalise_batch
from medlora.data.loader import ImageReader
from medlora.data.table import ImageTable
from medlora.errors import BackboneError, SettingsError
from medlora.evaluate.heat_maps import choose_map_method, compute_heat_map
from medlora.report.content import Mistake
from medlora.report.heat_map import draw_overlay
from medlora.report.sections import Paragraph, Section
from medlora.runs.scoring import Scores, show_pixels
from medlora.task.card import TaskCard
from medlora.task.ensemble import EnsembleModel
from medlora.task.model import TaskModel

_METHOD_NAMES = {
    "grad-cam": "Grad-CAM",
    "attention": "gradient-weighted attention",
    "integrated-gradients": "integrated gradients",
}


def add_heat_maps(
    mistakes: Sequence[Mistake],
    table: ImageTable,
    scores: Scores,
    images: ImageReader,
    model: TaskModel | EnsembleModel,
    card: TaskCard,
) -> tuple[list[Mistake], tuple[Section, ...]]:
    """Each mistake with a map of what spoke for it, and a section that says how to read them.

    A map is of the class that was decided for; where a label was missed, of that label.

    Args:
        mistakes: As `pick_mistakes` gives them.
        table: The images.
        scores: The answers that they are mistakes of.
        images: The images as prepared.
        model: The model that answered.
        card: The task's card.

    Returns:
        The mistakes without maps, and why, where the network cannot be explained or a package is
        missing. No section where there is no mistake.
    """
    if not mistakes:
        return [], ()
    try:
        method = choose_map_method(model)
    except (SettingsError, BackboneError) as error:
        return list(mistakes), _describe(f"No heat map was drawn: {error}")
    was_training = model.training
    model.eval()
    places = {table.locations[row]: place for place, row in enumerate(scores.rows.tolist())}
    shown = []
    for mistake in mistakes:
        place = places[mistake.location]
        pixels = images.read([int(scores.rows[place])]).to(model.head.weight.device)
        grid = compute_heat_map(
            model,
            normalise_batch(pixels, card.preprocessing),
            find_wrong_class(table, scores, place),
            multi_label=table.multi_label,
            method=method,
            empty=normalise_batch(torch.zeros_like(pixels), card.preprocessing),
        )
        picture = show_pixels(pixels[0].cpu().numpy()).transpose(1, 2, 0)
        whole = cover_input(*picture.shape[:2])
        overlay = draw_overlay(np.ascontiguousarray(picture), whole.lay_out(grid))
        shown.append(mistake._replace(heat_map=overlay))
    model.train(was_training)
    return shown, _describe(
        f"The colours over the mistakes show, by {_METHOD_NAMES[method]}, where in the image the "
        "evidence for the wrong decision lies; for a label that was missed, the evidence for that "
        "label. They say where the network looked, not why, and prove nothing about its reasons."
    )


def find_wrong_class(table: ImageTable, scores: Scores, place: int) -> int:
    """Number of the class, or label, that a wrong answer is most sure of.

    Args:
        table: The images.
        scores: Their answers.
        place: Which of the scored rows.
    """
    decisions, chances = scores.decisions[place], scores.probabilities[place]
    if not table.multi_label:
        return int(decisions.argmax())
    wrong = decisions != table.targets[scores.rows[place]]
    return int(np.where(wrong, np.where(decisions, chances, 1 - chances), -1).argmax())


def _describe(text: str) -> tuple[Section, ...]:
    section = Section(
        "Heat maps of the mistakes",
        "heat-maps",
        blocks=(Paragraph(text, is_small=True),),
        place="mistakes",
    )
    return (section,)
