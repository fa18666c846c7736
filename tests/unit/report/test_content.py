"""Thumbnails, and what a report's content must be."""

from collections.abc import Callable
from inspect import unwrap
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from medlora.errors import SettingsError
from medlora.report.content import ReportContent, thumbnail


def open_png(content: bytes) -> Image.Image:
    picture = Image.open(BytesIO(content))
    picture.load()
    assert picture.format == "PNG"
    return picture


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((3, 320, 240), (120, 160)), ((3, 100, 400), (160, 40)), ((3, 28, 28), (28, 28))],
    ids=["upright", "wide", "already small"],
)
def test_a_thumbnail_fits_the_side_and_keeps_the_aspect(
    shape: tuple[int, int, int], expected: tuple[int, int]
) -> None:
    assert open_png(thumbnail(np.zeros(shape, dtype=np.uint8))).size == expected


def test_a_small_image_keeps_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 30), dtype=np.uint8)
    stored = np.asarray(open_png(thumbnail(pixels)))
    np.testing.assert_array_equal(np.moveaxis(stored, -1, 0), pixels)


def test_equal_channels_are_stored_as_grey() -> None:
    plane = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    picture = open_png(thumbnail(np.stack([plane] * 3)))
    assert picture.mode == "L"
    np.testing.assert_array_equal(np.asarray(picture), plane)


def test_a_thumbnail_has_the_mean_brightness_of_its_image() -> None:
    ramp = np.tile(np.linspace(0, 255, 512).astype(np.uint8), (3, 512, 1))
    small = np.asarray(open_png(thumbnail(ramp, side=32)))
    assert abs(float(small.mean()) - float(ramp.mean())) < 1
    assert (np.diff(small[0].astype(int)) > 0).all()


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((3, 8, 8), dtype=np.float32),
        np.zeros((8, 8, 3), dtype=np.uint8),
        np.zeros((8, 8), dtype=np.uint8),
        np.zeros((3, 0, 8), dtype=np.uint8),
    ],
    ids=["floats", "channels last", "one plane", "empty"],
)
def test_other_arrays_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(SettingsError, match=r"uint8 pixels of shape \(3, height, width\), not"):
        unwrap(thumbnail)(pixels)  # as a user calls it, whose signatures nobody checks


def test_a_side_below_one_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least 1 pixel, not 0"):
        thumbnail(np.zeros((3, 8, 8), dtype=np.uint8), side=0)


@pytest.mark.parametrize("change", ["locations", "classes"])
def test_arrays_must_fit_classes_and_locations(
    content_maker: Callable[..., ReportContent], change: str
) -> None:
    whole = content_maker()
    fields = {name: getattr(whole, name) for name in whole.__dataclass_fields__}
    fields[change] = fields[change][:-1]
    with pytest.raises(SettingsError, match=r"needs probabilities and targets of shape"):
        ReportContent(**fields)
