import numpy as np
import pytest

from audit_samples import draw_picture, shrink
from benchmarks.audit_planting import CHANGES, plant_copy
from medlora.audit.alignment import PictureAligner
from medlora.audit.duplicates import MIN_DETAIL
from medlora.data.image import decode_image

PICTURE = draw_picture(3, 160)
PIXELS = np.repeat(PICTURE[:, :, None], 3, axis=2)


@pytest.mark.parametrize("kind", CHANGES)
def test_a_planted_copy_has_other_pixels_and_the_same_structure(kind) -> None:
    content, ending = plant_copy(PIXELS, kind, np.random.default_rng(5))
    copy = decode_image(content, f"copy{ending}")[:, :, 0]
    assert copy.shape != PICTURE.shape or (copy != PICTURE).any()
    small = np.stack([shrink(PICTURE), shrink(copy)])
    assert PictureAligner(small).compare(np.array([[0, 1]])).detail[0] > MIN_DETAIL


def test_the_same_seed_plants_the_same_copy() -> None:
    one, other = (plant_copy(PIXELS, "resized", np.random.default_rng(1)) for _ in range(2))
    assert one == other
    assert plant_copy(PIXELS, "resized", np.random.default_rng(2)) != one
