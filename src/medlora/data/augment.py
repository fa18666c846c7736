"""Random changes of training images: a sampler draws them, a pure function applies them.

Nothing here is random twice: `draw_augmentation` takes every random decision from the
generator that it is given, and `apply_augmentation` does the same thing to the same images
whenever it is handed the same draw.
"""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from medlora.errors import SettingsError

_HIGHEST = {
    "rotation_degrees": 180.0,
    "shift_fraction": 0.5,
    "scale_fraction": 1.0,
    "contrast": 0.95,
    "brightness": 1.0,
    "noise": 1.0,
}
_MAX_SEED = 2**62
_IMAGES_IN_CACHE = 2


@dataclass(frozen=True)
class Augmentation:
    """How far training images may be changed. Everything is off unless it is asked for.

    Attributes:
        rotation_degrees: Largest rotation to either side, 0 to 180.
        flip_horizontal: Whether left and right may change places. Leave it off where the
            side matters, as in chest films.
        flip_vertical: Whether top and bottom may change places.
        shift_fraction: Largest shift along each axis as a share of that side, 0 to 0.5.
        scale_fraction: Largest zoom in or out, 0 to 1; 0.2 zooms by a factor of 1/1.2 to 1.2.
        contrast: Largest change of contrast about the image's mean, 0 to 0.95; 0.2
            multiplies the distance to the mean by 0.8 to 1.2.
        brightness: Largest amount added to every value, 0 to 1 of the full range.
        noise: Largest standard deviation of Gaussian noise, 0 to 1 of the full range.

    Raises:
        SettingsError: A value is outside its range.

    Example:
        >>> Augmentation(rotation_degrees=10.0, flip_horizontal=True).is_off
        False
    """

    rotation_degrees: float = 0.0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    shift_fraction: float = 0.0
    scale_fraction: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        """Check every range."""
        for name, highest in _HIGHEST.items():
            value = getattr(self, name)
            if not 0 <= value <= highest:
                raise SettingsError(
                    f"Augmentation {name} must be in [0, {highest:g}], not {value!r}."
                )

    @property
    def is_off(self) -> bool:
        """Whether no image is ever changed."""
        return not any(getattr(self, field.name) for field in fields(self))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Augmentation":
        """The record that `to_dict` described; a missing key is off.

        Raises:
            SettingsError: A key is unknown, or its value is out of range.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise SettingsError(f"Augmentation knows no {', '.join(unknown)}. Check its spelling.")
        for name, value in values.items():
            is_switch = isinstance(value, bool)
            if name in _HIGHEST and (is_switch or not isinstance(value, (int, float))):
                raise SettingsError(f"Augmentation {name} must be a number, not {value!r}.")
            if name not in _HIGHEST and not is_switch:
                raise SettingsError(f"Augmentation {name} must be true or false, not {value!r}.")
        plain: dict[str, Any] = {
            name: float(value) if name in _HIGHEST else value for name, value in values.items()
        }
        return cls(**plain)


@dataclass(frozen=True)
class AugmentationDraw:
    """What happens to each image of one batch. All tensors are on the CPU, one value an image.

    Attributes:
        degrees: Rotation, counter-clockwise as the picture is seen, float32.
        zoom: Magnification, above 0, float32.
        shift: (image, 2) shift to the right and downwards as a share of width and height.
        flip_horizontal: Whether left and right change places, bool. Flips come before
            rotation, zoom and shift.
        flip_vertical: Whether top and bottom change places, bool.
        contrast: Factor on the distance to the image's mean, float32.
        brightness: What is added, as a share of the full range, float32.
        noise: Standard deviation of the noise, as a share of the full range, float32.
        noise_seed: Seed of the noise itself.
    """

    degrees: Tensor
    zoom: Tensor
    shift: Tensor
    flip_horizontal: Tensor
    flip_vertical: Tensor
    contrast: Tensor
    brightness: Tensor
    noise: Tensor
    noise_seed: int

    @property
    def n_images(self) -> int:
        """How many images the draw is for."""
        return len(self.degrees)


def draw_augmentation(
    augmentation: Augmentation, n_images: int, generator: torch.Generator
) -> AugmentationDraw:
    """Take the random decisions for one batch.

    Each image uses up the same amount of randomness whatever is switched on, so switching one
    change on or off leaves the others as they were.

    Args:
        augmentation: How far images may be changed.
        n_images: Images in the batch.
        generator: Where the randomness comes from, on the CPU; it is advanced.
    """
    chance = torch.rand(n_images, 9, generator=generator)
    noise_seed = int(torch.randint(_MAX_SEED, (), generator=generator))
    either_side = 2 * chance - 1
    return AugmentationDraw(
        degrees=either_side[:, 0] * augmentation.rotation_degrees,
        zoom=torch.exp(either_side[:, 1] * math.log1p(augmentation.scale_fraction)),
        shift=either_side[:, 2:4] * augmentation.shift_fraction,
        flip_horizontal=(chance[:, 4] < 0.5) & augmentation.flip_horizontal,
        flip_vertical=(chance[:, 5] < 0.5) & augmentation.flip_vertical,
        contrast=1 + either_side[:, 6] * augmentation.contrast,
        brightness=either_side[:, 7] * augmentation.brightness,
        noise=chance[:, 8] * augmentation.noise,
        noise_seed=noise_seed,
    )


def apply_augmentation(images: Tensor, draw: AugmentationDraw) -> Tensor:
    """Change a batch of images as was drawn.

    Flips are exact. Rotation, zoom and shift are one bilinear resampling, with black where the
    image does not reach; then come contrast, brightness and noise. Images whose channels are
    alike stay so: all three channels receive the same noise. The result is the same for the
    same draw on the same device.

    Args:
        images: (image, 3, height, width), uint8, on any device. They are not changed.
        draw: What to do, for as many images.

    Returns:
        A batch of the same shape, type and device; `images` itself where nothing is to be done.

    Raises:
        ValueError: The images are not uint8 of that shape, or not as many as were drawn for.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or len(images) != draw.n_images:
        raise ValueError(
            f"Augmentation takes {draw.n_images} uint8 images (image, channel, height, width), "
            f"not {images.dtype} of shape {tuple(images.shape)}."
        )
    images = _flip(images, draw.flip_horizontal, axis=3)
    images = _flip(images, draw.flip_vertical, axis=2)
    moves = bool((draw.degrees != 0).any() or (draw.zoom != 1).any() or (draw.shift != 0).any())
    shades = bool(
        (draw.contrast != 1).any() or (draw.brightness != 0).any() or (draw.noise != 0).any()
    )
    if not (moves or shades):
        return images
    noise_generator = torch.Generator(images.device).manual_seed(draw.noise_seed)
    # A few images at a time stay in a processor's cache; an accelerator takes all at once.
    n_at_once = _IMAGES_IN_CACHE if images.device.type == "cpu" else max(draw.n_images, 1)
    changed = torch.empty_like(images)
    for start in range(0, draw.n_images, n_at_once):
        part = slice(start, start + n_at_once)
        values = _drop_equal_channels(images[part]).to(torch.float32)
        if moves:
            grid = _place_samples(draw, part, values)
            values = functional.grid_sample(values, grid, mode="bilinear", align_corners=False)
        if shades:
            _shade(values, draw, part, noise_generator)
        # Adding a half before the cut to uint8 rounds to the nearest.
        changed[part] = values.add_(0.5).clamp_(0, 255).to(torch.uint8)
    return changed


def _flip(images: Tensor, chosen: Tensor, axis: int) -> Tensor:
    """The images with the chosen ones mirrored along an axis."""
    if not chosen.any():
        return images
    flipped = images.clone()
    on_device = chosen.to(images.device)
    flipped[on_device] = images[on_device].flip(axis)
    return flipped


def _drop_equal_channels(images: Tensor) -> Tensor:
    """The first channel alone where all three are alike, which most medical images are.

    Looked for on the processor only: it would make an accelerator wait, and gain little there.
    """
    if images.device.type != "cpu":
        return images
    first = images[:, :1]
    return first if torch.equal(images, first.expand_as(images)) else images


def _place_samples(draw: AugmentationDraw, part: slice, values: Tensor) -> Tensor:
    """Where each pixel of the result is looked up, (image, height, width, 2) in [-1, 1].

    Built by broadcasting two axes: `affine_grid` multiplies a matrix for every pixel, which
    takes longer than the resampling itself.
    """
    height, width = values.shape[2:]
    radians, zoom = torch.deg2rad(draw.degrees[part]), draw.zoom[part]
    cos = (torch.cos(radians) / zoom).to(values.device)[:, None, None]
    sin = (torch.sin(radians) / zoom).to(values.device)[:, None, None]
    shift = draw.shift[part].to(values.device)
    # A share of a side is twice as much in coordinates from -1 to 1.
    x = _pixel_centres(width, values.device) - 2 * shift[:, :1]
    y = _pixel_centres(height, values.device) - 2 * shift[:, 1:]
    x, y = x[:, None, :], y[:, :, None]
    # Turning mixes the axes, so the coordinates of one are taken to the other's pixels.
    grid = torch.empty(len(values), height, width, 2, device=values.device)
    grid[..., 0] = cos * x - sin * (height / width) * y
    grid[..., 1] = sin * (width / height) * x + cos * y
    return grid


def _pixel_centres(n_pixels: int, device: torch.device) -> Tensor:
    """Coordinates of the pixels of one side, which reaches from -1 to 1."""
    return (2 * torch.arange(n_pixels, device=device) + 1) / n_pixels - 1


def _shade(
    values: Tensor, draw: AugmentationDraw, part: slice, noise_generator: torch.Generator
) -> None:
    """Contrast about each image's mean, brightness, noise; changes `values`, 0 to 255."""
    contrast, brightness, noise = (
        factor[part].to(values.device)[:, None, None, None]
        for factor in (draw.contrast, draw.brightness, draw.noise)
    )
    mean = values.mean(dim=(1, 2, 3), keepdim=True)
    values.mul_(contrast).add_(mean * (1 - contrast) + 255 * brightness)
    if draw.noise.any():
        plane = torch.randn(
            len(values), 1, *values.shape[2:], generator=noise_generator, device=values.device
        )
        values.add_(plane.mul_(255 * noise))
