"""A task file and a backbone become a model again, and prove that it answers as it did."""

import torch
from torch import Tensor

from medlora.backbones.weights import Backbone
from medlora.data.image import normalise_batch
from medlora.errors import BackboneError, SelfCheckError, TargetError, TaskFileError
from medlora.preprocessing import Preprocessing
from medlora.task.card import TaskCard
from medlora.task.file import Task, check_backbone
from medlora.task.model import TaskModel
from medlora.task.novelty import NOVELTY_PREFIX
from medlora.task.records import SelfCheck

SELF_CHECK_IMAGES = 2
# Largest difference in a probability between two machines in float32, with room to spare.
SELF_CHECK_TOLERANCE = 2e-3
_TRAINED = "trained."


def build_model(
    task: Task,
    backbone: Backbone,
    *,
    place: str,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> TaskModel:
    """The model that a task describes, with the task's values, in evaluation mode.

    Args:
        task: The task.
        backbone: The backbone that it was trained on; for a fully fine-tuned task, any
            weights of the same architecture, since the task holds all of them.
        place: Where the task came from, for errors.
        dtype: Type that the frozen part is held and computed in.
        device: Where the model goes.

    Raises:
        WrongBackboneError: The task belongs to another backbone.
        TaskFileError: Its tensors do not fit the backbone.
    """
    card = task.card
    expected = card.backbone.fingerprint if card.method == "full" else backbone.fingerprint
    check_backbone(task, backbone.name, expected, place)
    trained = [name.removeprefix(_TRAINED) for name in task.tensors if name.startswith(_TRAINED)]
    own = {k: tensor for k, tensor in task.tensors.items() if not k.startswith(NOVELTY_PREFIX)}
    try:
        model = TaskModel(
            backbone,
            len(card.classes),
            method=card.method,
            adapter=card.adapter,
            factorised=card.factorised,
            dtype=dtype,
            trained=() if card.method == "full" else trained,
        )
        model.load_tensors(own)
    except (BackboneError, TargetError, TaskFileError) as error:
        raise TaskFileError(f"Task {card.name!r} ({place}): {error}") from error
    return model.eval().to(device)


def compute_probabilities(logits: Tensor, *, multi_label: bool) -> Tensor:
    """Softmax over the classes, or a sigmoid of each where an image may have several.

    Args:
        logits: Float (image, class).
        multi_label: Whether the classes are independent.

    Returns:
        Float64 (image, class), in [0, 1].
    """
    wide = logits.double()
    return wide.sigmoid() if multi_label else wide.softmax(dim=1)


def draw_check_images(seed: int, n_images: int, preprocessing: Preprocessing) -> Tensor:
    """Synthetic images for a self-check, uint8 (image, channel, height, width): smooth noise."""
    generator = torch.Generator().manual_seed(seed)
    height, width = preprocessing.size
    shape = (n_images, preprocessing.n_channels, 8, 8)
    coarse = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    rows = torch.arange(height) * 8 // height
    columns = torch.arange(width) * 8 // width
    return coarse[:, :, rows][:, :, :, columns]


def record_self_check(
    model: TaskModel, preprocessing: Preprocessing, *, multi_label: bool
) -> SelfCheck:
    """The answers of a float32 model on synthetic images, to be stored in its card."""
    seed = 20240229
    answers = _answer(model, seed, SELF_CHECK_IMAGES, preprocessing, multi_label)
    return SelfCheck(
        seed=seed,
        n_images=SELF_CHECK_IMAGES,
        expected=tuple(tuple(round(value, 6) for value in row) for row in answers.tolist()),
        tolerance=SELF_CHECK_TOLERANCE,
    )


def run_self_check(task: Task, backbone: Backbone, *, place: str) -> float:
    """Build the task's float32 model and compare its answers with those in its card.

    Returns:
        The largest difference in a probability; 0 where the card holds no self-check.

    Raises:
        SelfCheckError: An answer differs by more than the card's tolerance.
    """
    check = task.card.self_check
    if check is None:
        return 0.0
    model = build_model(task, backbone, place=place)
    answers = _answer(
        model, check.seed, check.n_images, task.card.preprocessing, task.card.multi_label
    )
    return compare_answers(task.card, answers, place=place)


def compare_answers(
    card: TaskCard, answers: Tensor, *, place: str, least_tolerance: float = 0.0
) -> float:
    """Compare answers with those that a task's card stores.

    Args:
        card: The task's card, with a self-check.
        answers: Probabilities of the self-check's images, float64 (image, class).
        place: Where the task came from, for errors.
        least_tolerance: What is allowed even where the card allows less, for computations in
            half precision.

    Returns:
        The largest difference in a probability.

    Raises:
        SelfCheckError: An answer differs by more than is allowed.
        TaskFileError: The card holds no self-check.
    """
    check = card.self_check
    if check is None:
        raise TaskFileError(
            f"Task {card.name!r} ({place}) stores no answers to compare with. Save it again "
            "with a self-check."
        )
    allowed = max(check.tolerance, least_tolerance)
    expected = torch.tensor(check.expected, dtype=torch.float64)
    difference = float((answers - expected).abs().max())
    if not difference <= allowed:
        raise SelfCheckError(
            f"Task {card.name!r} answers differently from when it was saved: a probability "
            f"differs by {difference:.4f}, allowed is {allowed:g} ({place}). Do not use "
            "it here; compare the software versions in its card with these."
        )
    return difference


@torch.inference_mode()
def _answer(
    model: TaskModel, seed: int, n_images: int, preprocessing: Preprocessing, multi_label: bool
) -> Tensor:
    device = model.head.weight.device
    images = draw_check_images(seed, n_images, preprocessing).to(device)
    logits = model(normalise_batch(images, preprocessing))
    return compute_probabilities(logits, multi_label=multi_label).cpu()
