"""Our geometry and normalisation against timm's evaluation transform, pixel by pixel."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from medlora.data.image import normalise_batch, prepare_image
from medlora.preprocessing import CropMode, Interpolation, Preprocessing

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# Height and width: smaller and larger than the target, odd, very long, and exactly on it.
SHAPES = [(224, 224), (97, 131), (131, 97), (512, 341), (60, 413), (413, 60), (256, 225), (30, 30)]
SIZES = [(224, 224), (96, 96), (96, 161), (161, 96), (33, 32)]


def draw_image(shape: tuple[int, int]) -> np.ndarray:
    """Noise on a ramp: any shift, flip or other filter changes nearly every pixel."""
    rng = np.random.default_rng(shape)
    ramp = np.add.outer(np.arange(shape[0]), np.arange(shape[1]))[:, :, None] % 200
    return (ramp + rng.integers(0, 56, (*shape, 3))).astype(np.uint8)


def run_timm(pixels: np.ndarray, preprocessing: Preprocessing, *, normalize: bool) -> torch.Tensor:
    transform = create_transform(
        input_size=(3, *preprocessing.size),
        is_training=False,
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
        crop_pct=preprocessing.crop_fraction,
        crop_mode=preprocessing.crop_mode,
        normalize=normalize,
    )
    result = transform(Image.fromarray(pixels))
    assert isinstance(result, torch.Tensor)
    return result


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_geometry_is_that_of_timm(crop_mode: CropMode, interpolation: Interpolation) -> None:
    for shape, size, crop_fraction in itertools.product(SHAPES, SIZES, (1.0, 0.875)):
        preprocessing = Preprocessing(size, MEAN, STD, interpolation, crop_fraction, crop_mode)
        pixels = draw_image(shape)
        expected = run_timm(pixels, preprocessing, normalize=False).numpy()
        ours = prepare_image(pixels, preprocessing)
        assert ours.shape == (3, *size)
        assert ours.std() > 1
        np.testing.assert_array_equal(ours, expected, err_msg=f"{shape} {size} {crop_fraction}")


def test_the_comparison_sees_a_shift_of_one_pixel() -> None:
    preprocessing = Preprocessing((96, 96), MEAN, STD)
    pixels = draw_image((131, 97))
    expected = run_timm(pixels[1:], preprocessing, normalize=False).numpy()
    assert (prepare_image(pixels, preprocessing) != expected).mean() > 0.5


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_the_network_input_is_that_of_timm(crop_mode: CropMode) -> None:
    preprocessing = Preprocessing((96, 96), MEAN, STD, "bicubic", 0.9, crop_mode)
    images = [draw_image(shape) for shape in SHAPES]
    expected = torch.stack([run_timm(image, preprocessing, normalize=True) for image in images])
    prepared = torch.from_numpy(np.stack([prepare_image(image, preprocessing) for image in images]))
    torch.testing.assert_close(normalise_batch(prepared, preprocessing), expected, rtol=0, atol=0)
