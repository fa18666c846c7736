"""What a finished run keeps of its training images, and how images unlike them are told by it."""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medlora.backbones.observing import choose_place
from medlora.compare.counts import wilson_interval
from medlora.errors import TrainingError
from medlora.evaluate.abstaining import judge_answers
from medlora.evaluate.answers import describe_rows
from medlora.evaluate.coverage import measure_answered
from medlora.evaluate.means import estimate_means
from medlora.evaluate.novelty import (
    NoveltyMeasure,
    fit_training_images,
    is_unlike,
    pack_novelty,
)
from medlora.evaluate.novelty_limit import NoveltyLimit, bound_false_alarms, choose_limit
from medlora.evaluate.resampling import number_groups
from medlora.evaluate.risk_coverage import select_answers
from medlora.runs.ongoing import OngoingRun
from medlora.runs.preparing import PreparedData
from medlora.runs.scoring import Scores
from medlora.task.card import TaskCard
from medlora.task.model import TaskModel
from medlora.task.novelty import NoveltySettings

# More say hardly more about some dozens of directions, and would cost a large run an hour.
MAX_IMAGES: Final = 2000


@dataclass(frozen=True, eq=False)
class KeptNovelty:
    """What goes into the task file.

    Attributes:
        settings: The card's part; None where nothing is kept.
        tensors: The numbers, under their names in the file.
        hindrance: Why nothing is kept though it was asked for; "" otherwise.
        measure: What scores images by it; None where nothing is kept.
        val_scores: (image,) scores of the images that chose the limit, above 1 where an image is
            unlike the training images; none where the limit was taken over from other runs.
    """

    settings: NoveltySettings | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    hindrance: str = ""
    measure: NoveltyMeasure | None = None
    val_scores: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


def fit_run(
    run: OngoingRun,
    model: TaskModel,
    data: PreparedData,
    val_rows: npt.NDArray[np.int64],
    *,
    limit: NoveltyLimit | None = None,
) -> KeptNovelty:
    """Where a run's training images lie, and from which distance on an image is unlike them.

    At most `MAX_IMAGES` of the training images are looked at, and as many of validation.

    Args:
        run: The run.
        model: Its trained model.
        data: Its images.
        val_rows: Images that nothing was learnt from, which choose the limit.
        limit: The limit, where there are no such images.
    """
    if not run.plan.novelty:
        return KeptNovelty()
    if limit is None and not len(val_rows):
        return KeptNovelty(hindrance="No images are left to choose a limit of novelty by.")
    place = choose_place(run.backbone.model)
    model.eval()
    train_rows = spread_rows(data.table.rows_in("train"), MAX_IMAGES)
    others = val_rows[:0] if limit is not None else spread_rows(val_rows, MAX_IMAGES)
    distances = np.zeros(0)
    try:
        cloud = fit_training_images(_describe(run, model, data, train_rows, place))
        if limit is None:
            distances = cloud.measure(_describe(run, model, data, others, place))
            limit = choose_limit(distances, groups=[data.table.patients[row] for row in others])
    except TrainingError as error:
        return KeptNovelty(hindrance=str(error))
    settings, tensors = pack_novelty(cloud, limit, place=place, n_train=len(train_rows))
    measure = NoveltyMeasure(place, cloud, limit.distance, str(run.folder.task))
    return KeptNovelty(settings, tensors, "", measure, distances / limit.distance)


def describe_kept(kept: KeptNovelty) -> dict[str, Any] | None:
    """What a task file keeps of its training images, and what that says of validation images.

    Args:
        kept: What goes into the task file.

    Returns:
        Plain JSON values: `place`, `n_values`, `n_train` and `limit` of the card; what is
        `promised`, as `describe_promise` writes it; and `validation`, the `n_images` that chose the
        limit and how many of them are `n_unlike`. None where nothing is kept.
    """
    settings = kept.settings
    if settings is None:
        return None
    return {
        "place": settings.place,
        "n_values": settings.n_values,
        "n_train": settings.n_train,
        "limit": settings.limit,
        "promised": describe_promise(settings),
        "validation": {
            "n_images": len(kept.val_scores),
            "n_unlike": int(_find_unlike(kept.val_scores).sum()),
        },
    }


def measure_unlike(
    run: OngoingRun,
    model: TaskModel,
    card: TaskCard,
    data: PreparedData,
    scores: Scores,
    measure: NoveltyMeasure,
) -> dict[str, Any]:
    """How many of the scored images are unlike the training images, and what abstaining does.

    At most `MAX_IMAGES` of them are looked at.

    Args:
        run: The run.
        model: The model that its task file makes.
        card: The task's card.
        data: The run's images.
        scores: Their scores, of images that did not choose the limit.
        measure: Scores images by what the task file keeps.

    Returns:
        Plain JSON values: `n_images` that were looked at, `n_unlike` of them and their `share` as
        an estimate; `abstaining`, as `measure_answered` gives it, where images unlike the training
        images get no answer; and `with_sets`, where doubtful prediction sets give none either, if
        the task has such sets.
    """
    places = spread_rows(np.arange(len(scores.rows)), MAX_IMAGES)
    rows = scores.rows[places]
    described = _describe(run, model, data, rows, measure.place)
    novelty = measure.score(torch.from_numpy(described))
    unlike = _find_unlike(novelty)
    answers, targets = scores.probabilities[places], data.table.targets[rows]
    _, wrong = select_answers(
        answers, scores.decisions[places], targets, multi_label=card.multi_label
    )
    groups = [data.table.patients[row] for row in rows]
    options: dict[str, Any] = {"groups": groups, "seed": run.settings.seed}

    def withhold(chosen: npt.NDArray[np.bool_]) -> dict[str, Any]:
        return measure_answered(
            wrong, np.repeat(chosen[:, None], wrong.shape[1], axis=1), **options
        )

    found = {
        "n_images": len(rows),
        "n_unlike": int(unlike.sum()),
        "share": _estimate_share(unlike, options),
        "abstaining": withhold(unlike),
    }
    if card.conformal is not None:
        reasons = judge_answers(card, answers, novelty)
        found["with_sets"] = withhold(np.array([bool(each.abstain) for each in reasons]))
    return found


def describe_promise(novelty: NoveltySettings) -> dict[str, Any]:
    """What a card promises of false alarms, as plain JSON values.

    Args:
        novelty: The card's part.

    Returns:
        `false_alarms`, the share at most, on average; `most`, what it stays below with a
        confidence of .95; `n_units`, by how many patients or images.
    """
    most = bound_false_alarms(novelty.false_alarms, novelty.n_units)
    return {"false_alarms": novelty.false_alarms, "most": most, "n_units": novelty.n_units}


def spread_rows(rows: npt.NDArray[np.int64], n_rows: int) -> npt.NDArray[np.int64]:
    """At most so many of the rows, from all over: images often lie in the order of their class."""
    places = np.linspace(0, len(rows) - 1, min(n_rows, len(rows))).astype(np.int64)
    return rows[places]


def _describe(
    run: OngoingRun, model: TaskModel, data: PreparedData, rows: npt.NDArray[np.int64], place: str
) -> npt.NDArray[np.float64]:
    return describe_rows(
        model,
        data.images,
        rows,
        run.preprocessing,
        place,
        batch_size=run.settings.batch_size,
        progress=run.progress,
    )


def _find_unlike(novelty: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.array([is_unlike(score) for score in novelty.tolist()], dtype=bool)


def _estimate_share(unlike: npt.NDArray[np.bool_], options: dict[str, Any]) -> dict[str, Any]:
    """A share with its interval; Wilson's where all images are alike to a bootstrap."""
    (estimate,) = estimate_means(unlike[:, None].astype(np.float64), **options)
    found = estimate.to_dict()
    if estimate.value in (0, 1):
        n_units = int(number_groups(options["groups"], len(unlike)).max()) + 1
        low, high = wilson_interval(round(estimate.value * n_units), n_units)
        found |= {"low": low, "high": high}
    return found
