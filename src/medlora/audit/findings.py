"""What an audit found, in words, and what of it must be mended before a score can be believed."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["blocks", "warns", "notes"]


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: A short name of what was looked for: `copies`, `patients`, `labels`, `shortcuts`, ...
        level: `blocks` where a score on these data would flatter or cannot be had, `warns` where
            a reader has to know it, `notes` for the rest.
        sentence: What was found, with its figures.
    """

    kind: str
    level: Level
    sentence: str


def count_words(number: int, one: str, many: str = "") -> str:
    """A number with its noun.

    Example:
        >>> count_words(1, "image"), count_words(1200, "image"), count_words(2, "copy", "copies")
        ('1 image', '1,200 images', '2 copies')
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
