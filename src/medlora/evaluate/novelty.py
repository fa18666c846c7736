"""How unlike a task's training images an image is, in one number."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medlora.errors import TaskFileError, TrainingError
from medlora.evaluate.novelty_limit import NoveltyLimit
from medlora.task.file import Task
from medlora.task.novelty import MAX_BYTES, NOVELTY_PREFIX, NoveltySettings, count_bytes

Floats = npt.NDArray[np.float64]

UNLIKE = "unlike the training images"
MIN_IMAGES = 8
N_DIRECTIONS = 32
# Values that hardly vary among the training images are taken to vary by this share of what the
# others do, so that no single one decides alone.
_LEAST_SPREAD = 0.05


def is_unlike(score: float) -> bool:
    """Whether a score says that an image is unlike the training images.

    Example:
        >>> is_unlike(1.0), is_unlike(1.01)
        (False, True)
    """
    return score > 1


@dataclass(frozen=True, eq=False)
class Cloud:
    """Where images lie: a normal distribution of few directions.

    Attributes:
        mean: Float32 (value,).
        spread: What deviations from the mean are divided by, float32 (value,), above 0.
        directions: In which the images vary most, float16 (direction, value), of length 1.
        variances: Along each direction, and last of every other one, float32 (direction + 1,),
            above 0.
    """

    mean: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float32]
    directions: npt.NDArray[np.float16]
    variances: npt.NDArray[np.float32]

    def measure(self, values: npt.ArrayLike) -> Floats:
        """Mahalanobis distances of some images, divided by the root of the number of values.

        Args:
            values: (image, value).

        Returns:
            (image,), about 1 for images like those that the cloud was made of.
        """
        centred = (np.asarray(values, dtype=np.float64) - self.mean) / self.spread
        directions = self.directions.astype(np.float64)
        along = centred @ directions.T
        # Not by Pythagoras: the directions were rounded.
        across = centred - along @ directions
        variances = self.variances.astype(np.float64)
        squares = (along**2 / variances[:-1]).sum(axis=1) + (across**2).sum(axis=1) / variances[-1]
        return np.asarray(np.sqrt(squares / centred.shape[1]))


def fit_cloud(values: npt.ArrayLike, n_directions: int) -> Cloud:
    """The cloud in which some images lie.

    Args:
        values: (image, value) of two images at least.
        n_directions: Directions to keep, at most; there are fewer where the images or their
            values are few.

    Reference:
        Tipping and Bishop, Probabilistic Principal Component Analysis, JRSS B 1999: a covariance
        of a few directions, and of one variance in all others.
    """
    wide = np.asarray(values, dtype=np.float64)
    n_images, n_values = wide.shape
    mean, deviation = wide.mean(axis=0), wide.std(axis=0)
    usual = math.sqrt(float((deviation**2).mean())) or 1.0
    spread = np.maximum(deviation, _LEAST_SPREAD * usual)
    _, singular, directions = np.linalg.svd((wide - mean) / spread, full_matrices=False)
    n_kept = max(0, min(n_directions, n_images - 2, n_values - 1))
    variances = singular**2 / (n_images - 1)
    rest = variances[n_kept:].sum() / (n_values - n_kept)
    # A direction in which no image varies would weigh without bound.
    kept = np.maximum([*variances[:n_kept], rest], _LEAST_SPREAD**2)
    return Cloud(
        mean.astype(np.float32),
        spread.astype(np.float32),
        directions[:n_kept].astype(np.float16),
        kept.astype(np.float32),
    )


def fit_training_images(descriptions: npt.ArrayLike) -> Cloud:
    """Where training images lie, in as many directions as a task file has room for.

    Args:
        descriptions: (image, value) of training images, see
            `medlora.backbones.observing.summarise_hidden`.

    Raises:
        TrainingError: There are too few images, or the descriptions are too long to be kept.
    """
    n_images, n_values = np.shape(descriptions)
    if n_images < MIN_IMAGES:
        raise TrainingError(
            f"{n_images} training images are too few to say which images are unlike them; "
            f"{MIN_IMAGES} are needed. Answers will come without a score of novelty."
        )
    n_directions = N_DIRECTIONS
    while n_directions >= 0 and count_bytes(n_values, n_directions) > MAX_BYTES:
        n_directions -= 1
    if n_directions < 0:
        raise TrainingError(
            f"Where the training images lie in {n_values} values cannot be kept in {MAX_BYTES} "
            "bytes. Answers will come without a score of novelty."
        )
    return fit_cloud(descriptions, n_directions)


def pack_novelty(
    cloud: Cloud, limit: NoveltyLimit, *, place: str, n_train: int
) -> tuple[NoveltySettings, dict[str, Tensor]]:
    """What a task file keeps: the card's part, and tensors under their names in the file.

    Args:
        cloud: Where the training images lie.
        limit: From which distance on an image is unlike them.
        place: The module whose input describes an image.
        n_train: How many training images there were.
    """
    settings = NoveltySettings(
        place=place,
        n_values=len(cloud.mean),
        n_directions=len(cloud.directions),
        limit=limit.distance,
        false_alarms=limit.false_alarms,
        n_train=n_train,
        n_val=limit.n_images,
        n_val_groups=limit.n_groups,
    )
    tensors = {
        f"{NOVELTY_PREFIX}{part}": torch.from_numpy(values.copy())
        for part, values in vars(cloud).items()
        if values.size
    }
    return settings, tensors


@dataclass(frozen=True, eq=False)
class NoveltyMeasure:
    """Scores of images by what a task file keeps of its training images.

    Attributes:
        place: The module whose input describes an image.
        cloud: Where the training images lie.
        limit: The largest distance that is not yet unlike them, above 0.
        origin: Where the task came from, for errors.
    """

    place: str
    cloud: Cloud
    limit: float
    origin: str

    @classmethod
    def read(cls, task: Task, origin: str) -> "NoveltyMeasure | None":
        """The measure in a task file; None where it holds none.

        Args:
            task: The task.
            origin: Where it came from, for errors.

        Raises:
            TaskFileError: A spread or variance is not above 0.
        """
        novelty = task.card.novelty
        if novelty is None:
            return None
        names = ("mean", "spread", "variances")
        parts = {part: task.tensors[f"{NOVELTY_PREFIX}{part}"].numpy() for part in names}
        for part in ("spread", "variances"):
            if not (parts[part] > 0).all():
                raise TaskFileError(
                    f"Task {task.card.name!r} ({origin}): the tensor '{NOVELTY_PREFIX}{part}' must "
                    "be above 0. The file was not written by MedLoRA; train the task again."
                )
        name = f"{NOVELTY_PREFIX}directions"
        empty = np.zeros((0, novelty.n_values), dtype=np.float16)
        directions = task.tensors[name].numpy() if name in task.tensors else empty
        return cls(novelty.place, Cloud(directions=directions, **parts), novelty.limit, origin)

    @property
    def n_bytes(self) -> int:
        """Memory that it takes."""
        return sum(values.nbytes for values in vars(self.cloud).values())

    def score(self, descriptions: Tensor) -> Floats:
        """Distances of images from the training images, as multiples of the limit.

        Args:
            descriptions: Of what enters the module at `place`, float (image, value).

        Returns:
            (image,), at least 0; above 1 an image is unlike the training images.

        Raises:
            TaskFileError: The descriptions are those of another network.
        """
        values = descriptions.detach().double().cpu().numpy()
        if values.shape[1] != len(self.cloud.mean):
            raise TaskFileError(
                f"{self.origin}: it describes images by {len(self.cloud.mean)} values of "
                f"{self.place!r}, and the backbone gives {values.shape[1]}. Use the backbone that "
                "its card names."
            )
        return np.asarray(self.cloud.measure(values) / self.limit)
