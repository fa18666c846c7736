"""What is laid back over a picture lies where it was taken from."""

from itertools import product

import numpy as np
import pytest

from medlora.data.geometry import Placement, trace_placement
from medlora.data.image import prepare_image
from medlora.preprocessing import Preprocessing

SHAPES = [(90, 150), (150, 90), (40, 40), (300, 200)]
MODES = [("center", 1.0), ("center", 0.8), ("squash", 0.9), ("border", 1.0), ("border", 0.9)]


def make_preprocessing(mode: str, fraction: float, **changes) -> Preprocessing:
    values = {"size": (96, 80), "mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bilinear"}
    return Preprocessing(**(values | {"crop_mode": mode, "crop_fraction": fraction} | changes))


@pytest.mark.parametrize(("shape", "mode"), list(product(SHAPES, MODES)))
def test_a_spot_of_the_input_comes_back_to_its_place(shape, mode) -> None:
    height, width = shape
    spot = (slice(int(0.4 * height), int(0.6 * height)), slice(int(0.3 * width), int(0.5 * width)))
    picture = np.zeros((*shape, 3), dtype=np.uint8)
    picture[spot] = 255
    preprocessing = make_preprocessing(*mode, mean=(0.0,) * 3)
    values = prepare_image(picture, preprocessing)[0] / 255
    back = trace_placement(picture, preprocessing).lay_out(values) > 0.5
    assert back.shape == shape
    expected = picture[:, :, 0] > 0
    assert (back & expected).sum() / (back | expected).sum() > 0.88


@pytest.mark.parametrize("mode", MODES)
def test_what_the_network_does_not_see_is_nought_and_the_rest_is_not(mode) -> None:
    picture = np.zeros((60, 200, 3), dtype=np.uint8)
    preprocessing = make_preprocessing(*mode, size=(64, 64))
    laid = trace_placement(picture, preprocessing).lay_out(np.ones((4, 4), dtype=np.float32))
    assert set(np.unique(laid.round(5)).tolist()) <= {0.0, 1.0}
    seen = laid.any(axis=0)
    # The middle is seen in every mode, all of it where nothing is cut off.
    assert seen[90:110].all()
    assert bool(seen.all()) == (mode in (("border", 1.0),))


def test_a_crop_to_the_body_is_undone() -> None:
    rng = np.random.default_rng(0)
    picture = np.zeros((200, 260, 3), dtype=np.uint8)
    picture[60:160, 120:220] = rng.integers(120, 180, (100, 100, 1))
    picture[80:100, 140:160] = 255
    preprocessing = make_preprocessing("squash", 1.0, size=(64, 64), steps=("crop",))
    placement = trace_placement(picture, preprocessing)
    assert placement.box[2] < 200
    assert placement.box[3] < 260
    values = prepare_image(picture, preprocessing)[0] / 255
    row, column = np.unravel_index(placement.lay_out(values).argmax(), (200, 260))
    assert 78 <= row < 102
    assert 138 <= column < 162


def test_the_series_of_a_case_are_cropped_by_their_mean() -> None:
    one, other = np.zeros((2, 120, 120, 3), dtype=np.uint8)
    one[20:70, 20:70], other[50:100, 50:100] = 200, 200
    preprocessing = make_preprocessing(
        "squash", 1.0, mean=(0.5,) * 2, std=(0.5,) * 2, channels=("a", "b"), steps=("crop",)
    )
    placement = trace_placement(np.stack([one, other]), preprocessing)
    top, left, height, width = placement.box
    assert top <= 20
    assert left <= 20
    assert top + height >= 100
    assert left + width >= 100


def test_a_maximum_may_lie_between_the_cells_of_a_coarse_grid() -> None:
    values = np.zeros((7, 7), dtype=np.float32)
    values[3, 3], values[3, 4] = 1.0, 0.9
    placement = Placement((140, 140), (0, 0, 140, 140), (140, 140), (0, 0), (140, 140))
    row, column = np.unravel_index(placement.lay_out(values).argmax(), (140, 140))
    assert row in (69, 70)
    # The cells' middles are at 70 and 90.
    assert 72 < column < 80


def test_a_grid_is_laid_out_through_its_cells_and_not_beyond_its_values() -> None:
    values = np.random.default_rng(0).random((5, 5)).astype(np.float32)
    placement = Placement((45, 45), (0, 0, 45, 45), (45, 45), (0, 0), (45, 45))
    laid = placement.lay_out(values)
    # All are made smaller by what the spline swings above the grid.
    scale = laid[4::9, 4::9][values > 0.1] / values[values > 0.1]
    assert 0.8 < scale.min() <= scale.max() <= 1.001
    assert np.ptp(scale) < 1e-4
    assert laid.min() >= 0.8 * values.min()
    assert laid.max() == pytest.approx(values.max(), rel=1e-5)
    assert not placement.lay_out(np.zeros((5, 5))).any()
