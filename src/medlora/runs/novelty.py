"""What a finished run keeps of its training images, to tell images that are unlike them."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import Tensor

from medlora.backbones.observing import choose_place
from medlora.errors import TrainingError
from medlora.evaluate.answers import describe_rows
from medlora.evaluate.novelty import (
    NoveltyLimit,
    choose_limit,
    fit_training_images,
    pack_novelty,
)
from medlora.runs.ongoing import OngoingRun
from medlora.runs.preparing import PreparedData
from medlora.task.model import TaskModel
from medlora.task.novelty import NoveltySettings

# More say hardly more about some dozens of directions, and would cost a large run an hour.
MAX_IMAGES = 2000


@dataclass(frozen=True, eq=False)
class KeptNovelty:
    """What goes into the task file.

    Attributes:
        settings: The card's part; None where nothing is kept.
        tensors: The numbers, under their names in the file.
        hindrance: Why nothing is kept though it was asked for; "" otherwise.
    """

    settings: NoveltySettings | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    hindrance: str = ""


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

    def describe(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return describe_rows(
            model,
            data.images,
            spread_rows(rows, MAX_IMAGES),
            run.preprocessing,
            place,
            batch_size=run.settings.batch_size,
            progress=run.progress,
        )

    model.eval()
    train = describe(data.table.rows_in("train"))
    try:
        cloud = fit_training_images(train)
    except TrainingError as error:
        return KeptNovelty(hindrance=str(error))
    chosen = limit or choose_limit(cloud.measure(describe(val_rows)))
    return KeptNovelty(*pack_novelty(cloud, chosen, place=place, n_train=len(train)))


def spread_rows(rows: npt.NDArray[np.int64], n_rows: int) -> npt.NDArray[np.int64]:
    """At most so many of the rows, from all over: images often lie in the order of their class."""
    places = np.linspace(0, len(rows) - 1, min(n_rows, len(rows))).astype(np.int64)
    return rows[places]
