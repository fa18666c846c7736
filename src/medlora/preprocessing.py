"""How an image becomes the backbone's input: a plain record that travels in the task file."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

from medlora.errors import SettingsError

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
CropMode = Literal["center", "squash", "border"]
Contrast = Literal["none", "equalize", "clahe"]
LATER_FIELDS: Final = ("steps", "channels")
"""Fields of `Preprocessing` that are not written where they are empty."""
Step = Literal["crop", "denoise", "bias-field"]
STEPS: Final[tuple[Step, ...]] = get_args(Step)
"""Every step of preparation, in the order in which they are carried out."""


@dataclass(frozen=True)
class Preprocessing:
    """Steps, contrast, geometry and normalisation between a decoded image and the backbone.

    The geometry is timm's for evaluation: the image is resized so that the crop takes
    `crop_fraction` of it, then cut to `size`.

    Attributes:
        size: Height and width in pixels of the backbone's input.
        mean: Mean of each channel, for values in [0, 1].
        std: Standard deviation of each channel, for values in [0, 1].
        interpolation: Resampling filter.
        crop_fraction: Share of the resized side that the crop keeps, in (0, 1].
        crop_mode: `center` resizes the shorter side and cuts the middle, `squash` ignores
            the aspect, `border` resizes the longer side and fills up with `mean`.
        contrast: Contrast enhancement of the decoded picture, after the steps, before resizing.
        steps: What is done to the decoded picture first: `crop` to the head or chest, `denoise`,
            `bias-field` for uneven intensity; kept in this order, whatever order is given.
        channels: The series of a case that become the channels, by the names of their columns
            in a manifest; none for colour images, whose channels are red, green and blue.

    Raises:
        SettingsError: A value is outside its range.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation = "bicubic"
    crop_fraction: float = 1.0
    crop_mode: CropMode = "center"
    contrast: Contrast = "none"
    steps: tuple[Step, ...] = ()
    channels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check every range."""
        if len(self.size) != 2 or min(self.size) < 1 or max(self.size) > 4096:
            raise SettingsError(
                f"Preprocessing size must be two sides of 1 to 4096 pixels, not {self.size}."
            )
        object.__setattr__(self, "channels", check_channels(self.channels))
        if len(self.mean) != self.n_channels or len(self.std) != self.n_channels:
            raise SettingsError(
                f"Preprocessing mean and std must have {self.n_channels} values each, "
                f"not {len(self.mean)} and {len(self.std)}."
            )
        if not all(0 <= value <= 1 for value in self.mean):
            raise SettingsError(f"Preprocessing mean must be in [0, 1], not {self.mean}.")
        if not all(0 < value <= 1 for value in self.std):
            raise SettingsError(f"Preprocessing std must be in (0, 1], not {self.std}.")
        if not 0 < self.crop_fraction <= 1:
            raise SettingsError(
                f"Preprocessing crop_fraction must be in (0, 1], not {self.crop_fraction}."
            )
        object.__setattr__(self, "steps", order_steps(self.steps))
        for name, allowed in (
            ("interpolation", Interpolation),
            ("crop_mode", CropMode),
            ("contrast", Contrast),
        ):
            if getattr(self, name) not in get_args(allowed):
                raise SettingsError(
                    f"Preprocessing {name} must be one of {', '.join(get_args(allowed))}, "
                    f"not {getattr(self, name)!r}."
                )

    @property
    def n_channels(self) -> int:
        """How many channels the backbone takes."""
        return len(self.channels) or 3

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, without steps and channels where there are none, as before."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if key not in LATER_FIELDS or value
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocessing":
        """The record that `to_dict` described.

        Raises:
            SettingsError: A key is missing, unknown, or its value is out of range.
        """
        try:
            plain: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in values.items()
            }
            return cls(**plain)
        except (TypeError, AttributeError, ValueError) as error:
            raise SettingsError(f"Preprocessing record is not valid: {error}") from error


def order_steps(steps: str | Iterable[str]) -> tuple[Step, ...]:
    """Names of steps in the order of `STEPS`, each once; `none` and nothing are no step.

    Raises:
        SettingsError: There is no step of that name.

    Example:
        >>> order_steps(["denoise", "crop"])
        ('crop', 'denoise')
        >>> order_steps("none")
        ()
    """
    parts = steps.split(",") if isinstance(steps, str) else steps
    names = [name for name in parts if name not in ("", "none")]
    for name in names:
        if name not in STEPS:
            raise SettingsError(
                f"A step of preparation must be one of {', '.join(STEPS)}, not {name!r}."
            )
    return tuple(step for step in STEPS if step in names)


def check_channels(channels: Iterable[str]) -> tuple[str, ...]:
    """Names of series, each once.

    Raises:
        SettingsError: A name is empty, or there twice.
    """
    names = tuple(channels.split(",") if isinstance(channels, str) else channels)
    if not all(isinstance(name, str) and name and name.strip() == name for name in names):
        raise SettingsError(f"channels must be names of columns, not {list(names)}.")
    if len(set(names)) < len(names):
        raise SettingsError(f"channels must name each column once, not {', '.join(names)}.")
    return names
