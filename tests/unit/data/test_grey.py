import numpy as np
import pytest

from medlora.data.grey import window_shares


@pytest.mark.parametrize(
    ("function", "width", "expected"),
    [
        ("LINEAR", 5.0, [0, 0.125, 0.375, 0.625, 0.875, 1, 1]),
        ("LINEAR", 1.0, [0, 0, 0, 1, 1, 1, 1]),
        ("LINEAR", 0.5, [0, 0, 0, 0.5, 1, 1, 1]),
        ("LINEAR_EXACT", 5.0, [0, 0.1, 0.3, 0.5, 0.7, 0.9, 1]),
        ("SIGMOID", 4.0, [1 / (1 + np.exp(-x)) for x in range(-3, 4)]),
    ],
)
def test_window_functions(function: str, width: float, expected: list[float]) -> None:
    # PS3.3 C.11.2.1.2 and C.11.2.1.3, worked out by hand around a centre of 3.
    shares = window_shares(np.arange(7), 3.0, width, function)
    np.testing.assert_allclose(shares, expected, atol=1e-12)


def test_sigmoid_far_outside_its_window_is_flat() -> None:
    shares = window_shares(np.array([-1e9, 1e9]), 0.0, 1.0, "SIGMOID")
    np.testing.assert_allclose(shares, [0, 1], atol=1e-12)


def test_a_function_that_is_not_known() -> None:
    with pytest.raises(ValueError, match="VOI LUT function 'WAVY' is not known"):
        window_shares(np.arange(7), 3.0, 5.0, "WAVY")
