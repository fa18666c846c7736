"""Correction of uneven intensity."""

import sys

import numpy as np
import pytest

from medlora.data.bias_field import even_out_intensity
from medlora.errors import SettingsError


def draw_tissue() -> np.ndarray:
    """Two tissues in a disc on black, grey levels."""
    row, column = np.mgrid[:100, :110].astype(float)
    radius = np.hypot((row - 50) / 44, (column - 55) / 48)
    tissue = np.where(np.hypot(row % 24 - 12, column % 24 - 12) < 7, 120.0, 70.0)
    return np.where(radius < 1, tissue, 0.0)


def as_pixels(grey: np.ndarray) -> np.ndarray:
    return np.repeat(np.rint(grey.clip(0, 255)).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.fixture(scope="module")
def shaded() -> np.ndarray:
    """The tissue, brighter to the lower right by a factor that rises from 0.6 to 1.6."""
    row, column = np.mgrid[:100, :110].astype(float)
    return as_pixels(draw_tissue() * (0.6 + (row + column) / 210))


@pytest.fixture(scope="module")
def evened(shaded) -> np.ndarray:
    return even_out_intensity(shaded)


def spread_within(pixels: np.ndarray, level: float) -> float:
    values = pixels[..., 0][draw_tissue() == level].astype(float)
    return float(values.std() / values.mean())


def test_a_smooth_field_is_taken_out(shaded, evened) -> None:
    assert evened.shape == shaded.shape
    for level in (70.0, 120.0):
        assert spread_within(evened, level) < 0.4 * spread_within(shaded, level)
    # Their contrast is what a diagnosis rests on.
    means = [evened[..., 0][draw_tissue() == level].mean() for level in (70.0, 120.0)]
    assert abs(means[1] / means[0] - 120 / 70) < 0.15


def test_brightness_of_tissue_and_black_air_stay(shaded, evened) -> None:
    tissue = draw_tissue() > 0
    assert abs(evened[tissue].mean() - shaded[tissue].mean()) < 1
    assert evened[~tissue].max() == 0


def test_the_same_picture_gives_the_same_bytes(shaded, evened) -> None:
    np.testing.assert_array_equal(evened, even_out_intensity(shaded.copy()))


def test_colours_of_a_pixel_keep_their_ratio(shaded) -> None:
    coloured = shaded.copy()
    coloured[..., 2] //= 2
    evened = even_out_intensity(coloured).astype(float)
    bright = (shaded[..., 0] > 60) & (evened[..., 0] < 255)
    assert np.abs(evened[bright][:, 2] / evened[bright][:, 0] - 0.5).max() < 0.03
    assert not np.array_equal(evened, coloured)


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (31, 60)])
def test_small_pictures_are_returned_as_they_are(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8)
    assert even_out_intensity(pixels) is pixels


@pytest.mark.parametrize("level", [0, 90])
def test_a_flat_picture_stays(level: int) -> None:
    pixels = np.full((40, 50, 3), level, dtype=np.uint8)
    np.testing.assert_array_equal(even_out_intensity(pixels), pixels)


def test_without_simpleitk_the_extra_is_named(shaded, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(SettingsError, match=r"bias-field needs SimpleITK.*medlora\[bias-field\]"):
        even_out_intensity(shaded)
