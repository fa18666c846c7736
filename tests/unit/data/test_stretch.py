import numpy as np
import pytest

from medlora.data.stretch import stretch_to_uint8


def test_stretch_leaves_out_what_it_is_told() -> None:
    values = np.array([-2000.0, 0, 50, 100, np.nan, np.inf, -np.inf])
    left_out = np.array([True, *[False] * 6])
    assert stretch_to_uint8(values, left_out).tolist() == [0, 0, 128, 255, 0, 0, 0]
    assert stretch_to_uint8(np.array([3, 3])).tolist() == [0, 0]
    everything = np.array([True, True])
    assert stretch_to_uint8(np.array([3, 5]), everything).tolist() == [0, 255]


def test_truth_values_become_black_and_white() -> None:
    assert stretch_to_uint8(np.array([True, True])).tolist() == [255, 255]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([np.nan, np.inf]), "no pixel value is a finite number"),
        (np.array([]), "no pixel value is a finite number"),
        (np.array([1j]), "of type complex128 are not real numbers"),
    ],
)
def test_what_cannot_be_stretched(values: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stretch_to_uint8(values)


def test_large_integers_do_not_overflow() -> None:
    values = np.array([-(2**31), 0, 2**31 - 1], dtype=np.int32)
    assert stretch_to_uint8(values).tolist() == [0, 128, 255]
