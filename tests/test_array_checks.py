"""The array checks of the test suite find a wrong array and leave the rest alone."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from beartype.roar import BeartypeCallHintViolation

from array_checks import check_arrays, check_members, install
from medlora.data.stretch import stretch_to_uint8


@check_arrays
def brightest(images: npt.NDArray[np.uint8] | None, share: float = 1.0) -> Any:
    return images, share


@check_arrays
def stack(
    images: Sequence[npt.NDArray[np.float64]], kind: Any = np.float64
) -> npt.NDArray[np.float64]:
    return np.stack(images).astype(kind)


@pytest.mark.parametrize("images", [None, np.zeros(3, np.uint8)])
def test_the_arrays_asked_for_pass(images: Any) -> None:
    assert brightest(images, "not a number") == (images, "not a number")


@pytest.mark.parametrize("images", [[1, 2], np.zeros(3, np.float32)])
def test_another_kind_of_array_does_not(images: Any) -> None:
    with pytest.raises(BeartypeCallHintViolation, match="images"):
        brightest(images)


def test_another_kind_inside_a_sequence_does_not() -> None:
    with pytest.raises(BeartypeCallHintViolation, match="images"):
        stack([np.zeros(3, np.uint8)])


def test_a_wrong_result_does_not() -> None:
    assert stack([np.zeros((2, 3))]).shape == (1, 2, 3)
    with pytest.raises(BeartypeCallHintViolation, match="return"):
        stack([np.zeros((2, 3))], np.float32)


def test_the_package_is_checked() -> None:
    with pytest.raises(BeartypeCallHintViolation, match="stretch_to_uint8"):
        stretch_to_uint8([1, 2, 3])
    assert inspect.unwrap(stretch_to_uint8) is not stretch_to_uint8


def test_methods_and_properties_are_checked() -> None:
    class Film:
        @classmethod
        def read(cls, pixels: npt.NDArray[np.uint8]) -> "Film":
            return cls()

        @property
        def pixels(self) -> npt.NDArray[np.uint8]:
            return [0]

    check_members(Film, __name__)
    assert isinstance(Film.read(np.zeros(3, np.uint8)), Film)
    with pytest.raises(BeartypeCallHintViolation, match="pixels"):
        Film.read([0])
    with pytest.raises(BeartypeCallHintViolation, match="return"):
        _ = Film().pixels


def test_what_has_no_arrays_stays_as_it_is() -> None:
    def name(task: str) -> str:
        return task

    assert check_arrays(name) is name
    assert name.__annotations__ == {"task": str, "return": str}


def test_a_package_that_is_imported_already_is_refused() -> None:
    with pytest.raises(RuntimeError, match="before their arrays"):
        install("medlora")
