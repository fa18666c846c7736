"""What a run learns from and is judged by."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medlora.data.loader import ImageReader
from medlora.data.views import ImageViews
from medlora.preprocessing import Preprocessing
from medlora.train.settings import TrainSettings


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from and is judged by.

    Attributes:
        images: Where prepared images come from.
        targets: (image, class) reference labels of the whole table.
        multi_label: Whether an image may have several classes.
        train_rows: Rows to learn from.
        val_rows: Rows that choose the epoch; never any of the test split. Without any, the
            last epoch is kept.
        preprocessing: How images are normalised.
        names: What identifies each row's image, for its views; the rows' numbers where empty.
    """

    images: ImageReader
    targets: npt.NDArray[np.bool_]
    multi_label: bool
    train_rows: npt.NDArray[np.int64]
    val_rows: npt.NDArray[np.int64]
    preprocessing: Preprocessing
    names: tuple[str, ...] = ()

    def draw_views(self, settings: TrainSettings) -> ImageViews | None:
        """The images' views, None where they have none or are changed anew at each step."""
        if settings.views == 0 or settings.augmentation.is_off:
            return None
        names = self.names or tuple(map(str, range(len(self.targets))))
        return ImageViews(settings.augmentation, settings.views, settings.seed, names)
