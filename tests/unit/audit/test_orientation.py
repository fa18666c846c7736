import numpy as np
import pytest

from medlora.audit.orientation import N_ORIENTATIONS, ORIENTATION_NAMES, orient

PICTURE = np.arange(9).reshape(3, 3)


def test_the_eight_orientations_differ_and_have_names() -> None:
    turned = {orient(PICTURE, number).tobytes() for number in range(N_ORIENTATIONS)}
    assert len(turned) == len(set(ORIENTATION_NAMES)) == N_ORIENTATIONS


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", PICTURE),
        ("mirrored left to right", np.fliplr(PICTURE)),
        ("mirrored top to bottom", np.flipud(PICTURE)),
        ("turned by 180 degrees", np.rot90(PICTURE, 2)),
        ("mirrored along the diagonal", PICTURE.T),
        ("turned by 90 degrees to the left", np.rot90(PICTURE)),
        ("turned by 90 degrees to the right", np.rot90(PICTURE, -1)),
        ("mirrored along the other diagonal", np.rot90(PICTURE, 2).T),
    ],
)
def test_names_say_what_is_done(words, expected) -> None:
    assert (orient(PICTURE, ORIENTATION_NAMES.index(words)) == expected).all()
