"""What a report shows, as plain data, and the small pictures in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from medlora.errors import SettingsError
from medlora.report.sections import Section, check_sections

_PAGE = ("contents", "key-figures", "figures", "mistakes", "training", "card", "command")
_SECTIONS = ("verdict", "data", "audit", "method", "limits", "model-card", "claim", "tripod")
OWN_ANCHORS = frozenset([*_PAGE, *_SECTIONS])
"""Addresses on the page of the parts that every report has."""


class Mistake(NamedTuple):
    """One image that was decided wrongly.

    Attributes:
        thumbnail: The picture as PNG bytes, as `thumbnail` makes it.
        true: Reference class, or several joined by "|", or "" for none.
        predicted: Decided class, or several joined by "|", or "" for none.
        probability: Probability that the model gave to what it decided, in [0, 1].
        location: Where the image lies, as its table names it.
        heat_map: The picture with what the decision rests on drawn over it, as PNG bytes; b"" where
            there is none. It is shown beside the thumbnail.
    """

    thumbnail: bytes
    true: str
    predicted: str
    probability: float
    location: str
    heat_map: bytes = b""


@dataclass(frozen=True)
class ReportContent:
    """Everything that `render_report` puts on the page.

    Attributes:
        title: Headline, for example the task's name.
        card: The task's card as plain JSON values (`TaskCard.to_dict`). Keys that are not
            there are left out of the page.
        command: The command line of the run, exactly as it was typed.
        history: One record for each epoch: `epoch`, `train_loss`, `val_loss`, any number of
            `val_<measure>`, `learning_rate`, `seconds`. Values may be None.
        evaluation: `Evaluation.to_dict` of the images that the report is about.
        probabilities: Predicted probabilities (image, class), in [0, 1].
        targets: Reference (image, class), one-hot or multi-hot.
        classes: Names in the order of the columns.
        multi_label: Whether an image may belong to several classes, or none.
        locations: One for each row of `probabilities`.
        evaluation_unseen: The same measures on those images whose bytes are in no training or
            validation image; None where that is not known, or all of them are.
        mistakes: The worst ones, worst first.
        warnings: Sentences about faults that were noticed: sentinels, leaks, shortcuts.
        n_skipped: Number of unreadable images that were left out.
        split: Which images the evaluation is about: "test", "val" or "out-of-fold".
        operating_point: What was asked for and what is reached, as `measure_point` gives it.
        folds: Of a cross-validation, each fold's `Evaluation.to_dict` with `best_epoch`.
        sections: What else there is to show; their order is kept within each place.
        facts: What is known of the images beyond the card, as `count_files` gives it, and under
            `audit` what a short audit found. Keys that are not there are left out of the page.

    Raises:
        SettingsError: The arrays' shapes do not fit the classes or locations, or two sections have
            one anchor.
    """

    title: str
    card: Mapping[str, Any]
    command: str
    history: Sequence[Mapping[str, Any]]
    evaluation: Mapping[str, Any]
    probabilities: npt.NDArray[np.float64]
    targets: npt.NDArray[np.bool_]
    classes: Sequence[str]
    multi_label: bool
    locations: Sequence[str]
    evaluation_unseen: Mapping[str, Any] | None = None
    mistakes: Sequence[Mistake] = ()
    warnings: Sequence[str] = field(default_factory=tuple)
    n_skipped: int = 0
    split: str = "test"
    operating_point: Mapping[str, Any] | None = None
    folds: Sequence[Mapping[str, Any]] = ()
    sections: tuple[Section, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the arrays describe the same images and classes."""
        shape = (len(self.locations), len(self.classes))
        if self.probabilities.shape != shape or self.targets.shape != shape:
            raise SettingsError(
                f"A report needs probabilities and targets of shape {shape} (images, classes), "
                f"not {self.probabilities.shape} and {self.targets.shape}."
            )
        check_sections(self.sections, OWN_ANCHORS)


def thumbnail(pixels: npt.NDArray[np.uint8], side: int = 160) -> bytes:
    """A small PNG of an image; the same pixels always give the same bytes.

    An image that is already small keeps its size. A colour image whose channels are equal is
    stored as grey, which takes a third of the space.

    Args:
        pixels: Colours (3, height, width) in 0..255.
        side: The longer side of the result at most, in pixels.

    Raises:
        SettingsError: `pixels` is not a uint8 array of that shape, or `side` is below 1.

    Example:
        >>> thumbnail(np.zeros((3, 320, 240), dtype=np.uint8))[1:4]
        b'PNG'
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[0] != 3 or pixels.size == 0:
        raise SettingsError(
            "A thumbnail needs uint8 pixels of shape (3, height, width), "
            f"not {pixels.dtype} of shape {pixels.shape}."
        )
    if side < 1:
        raise SettingsError(f"A thumbnail's side must be at least 1 pixel, not {side}.")
    is_grey = bool((pixels == pixels[:1]).all())
    plane = pixels[0] if is_grey else np.moveaxis(pixels, 0, -1)
    picture = Image.fromarray(np.ascontiguousarray(plane))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()
