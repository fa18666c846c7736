import numpy as np
import pytest

from audit_samples import crop, draw_picture, shrink, tilt
from medlora.audit.alignment import PictureAligner
from medlora.audit.duplicates import MIN_DETAIL, MIN_WHOLE
from medlora.audit.orientation import orient


def compare(first, second):
    small = np.stack([shrink(first), shrink(second)])
    return PictureAligner(small, min_coarse=-1).compare(np.array([[0, 1]]))


CHANGES = {
    "darker": lambda picture: (0.6 * picture + 30).astype(np.uint8),
    "cropped": crop,
    "tilted": lambda picture: tilt(picture, 7),
    "smaller": lambda picture: shrink(picture, 48),
    "several": lambda picture: crop(tilt(picture[:, ::-1], -4)),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_changed_copy_agrees_in_both(name, seed) -> None:
    picture = draw_picture(seed)
    found = compare(picture, np.ascontiguousarray(CHANGES[name](picture)))
    assert found.whole[0] > MIN_WHOLE
    assert found.detail[0] > MIN_DETAIL


def test_other_pictures_agree_in_neither() -> None:
    small = np.stack([shrink(draw_picture(seed)) for seed in range(12)])
    pairs = np.array([(i, j) for j in range(12) for i in range(j)])
    found = PictureAligner(small, min_coarse=-1).compare(pairs)
    assert found.detail.max() < 0.5


def test_the_same_outline_with_other_structure_agrees_as_a_whole_only() -> None:
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    outline = 150.0 * (x**2 + 1.4 * y**2 < 0.7)
    textures = [draw_picture(seed).astype(float) - 128 for seed in (5, 6)]
    first, second = (
        np.clip(outline + 50 + 0.15 * own, 0, 255).astype(np.uint8) for own in textures
    )
    found = compare(first, second)
    assert found.whole[0] > 0.9
    assert found.detail[0] < MIN_DETAIL


@pytest.mark.parametrize("orientation", range(8))
def test_the_orientation_brings_the_second_onto_the_first(orientation) -> None:
    picture = shrink(draw_picture(4))
    second = np.ascontiguousarray(orient(picture, orientation))
    found = PictureAligner(np.stack([picture, second])).compare(np.array([[0, 1]]))
    assert (orient(second, int(found.orientations[0])) == picture).all()
    assert found.detail[0] > 0.99


def test_pictures_without_structure_do_not_agree() -> None:
    small = np.full((2, 64, 64), 7, dtype=np.uint8)
    found = PictureAligner(small, min_coarse=-1).compare(np.array([[0, 1]]))
    assert found.detail[0] < 0.5
    assert np.isfinite(found.whole[0])


def test_no_pairs_give_no_agreement() -> None:
    found = PictureAligner(np.zeros((2, 64, 64), np.uint8)).compare(np.empty((0, 2), np.int64))
    assert len(found.whole) == len(found.orientations) == 0
