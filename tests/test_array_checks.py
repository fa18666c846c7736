"""The array checks of the test suite find a wrong array and leave the rest alone."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float

from array_checks import check_arrays
from medlora.data.stretch import stretch_to_uint8


@check_arrays
def brightest(images: npt.NDArray[np.uint8] | None, share: float = 1.0) -> Any:
    return images, share


@check_arrays
def stack(images: Sequence[Float[np.ndarray, "height width"]]) -> npt.NDArray[np.float64]:
    return np.stack(images).astype(images[0].dtype)


@pytest.mark.parametrize("images", [None, np.zeros(3, np.uint8)])
def test_the_arrays_asked_for_pass(images: Any) -> None:
    assert brightest(images, "not a number") == (images, "not a number")


@pytest.mark.parametrize("images", [[1, 2], np.zeros(3, np.float32)])
def test_another_kind_of_array_does_not(images: Any) -> None:
    with pytest.raises(BeartypeCallHintViolation, match="images"):
        brightest(images)


def test_a_wrong_shape_inside_a_sequence_does_not() -> None:
    with pytest.raises(BeartypeCallHintViolation, match="height width"):
        stack([np.zeros(3)])


def test_a_wrong_result_does_not() -> None:
    assert stack([np.zeros((2, 3))]).shape == (1, 2, 3)
    with pytest.raises(BeartypeCallHintViolation, match="return"):
        stack([np.zeros((2, 3), np.float32)])


def test_the_package_is_checked() -> None:
    with pytest.raises(TypeError, match="Type-check error"):
        stretch_to_uint8([1, 2, 3])
    assert inspect.unwrap(stretch_to_uint8) is not stretch_to_uint8
