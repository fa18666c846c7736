import numpy as np

from audit_samples import draw_picture
from medlora.audit.fingerprint import (
    SIDE,
    pack_fingerprint,
    take_fingerprint,
    unpack_fingerprint,
)


def as_colour(grey):
    return np.repeat(grey[:, :, None], 3, axis=2)


def test_the_digest_is_of_the_pixels_and_their_shape() -> None:
    grey = draw_picture(0, 48)
    one = take_fingerprint(b"first", as_colour(grey))
    other = take_fingerprint(b"other file", as_colour(grey))
    assert one.digest == other.digest
    assert one.facts[0] == 5 and other.facts[0] == 10
    turned = as_colour(grey.reshape(24, 96))
    assert take_fingerprint(b"first", turned).digest != one.digest


def test_packing_keeps_everything() -> None:
    taken = take_fingerprint(b"bytes", as_colour(draw_picture(1, 70)))
    again = unpack_fingerprint(pack_fingerprint(taken))
    assert again is not None
    assert again.digest == taken.digest
    assert (again.small == taken.small).all() and again.small.shape == (SIDE, SIDE)
    assert (again.facts == taken.facts).all()
    assert unpack_fingerprint(pack_fingerprint(taken)[1:]) is None


def test_series_are_averaged_and_colours_are_seen() -> None:
    dark, light = as_colour(np.full((9, 9), 10, np.uint8)), as_colour(np.full((9, 9), 30, np.uint8))
    both = take_fingerprint(b"x", np.stack([dark, light]))
    assert (both.small == 20).all()
    red = np.zeros((9, 9, 3), np.uint8)
    red[..., 0] = 200
    assert take_fingerprint(b"x", red).facts[5] % 10 == 3
    assert take_fingerprint(b"x", dark).facts[5] % 10 == 1
