"""Lesions lie where their class says, and are seen."""

import math

import numpy as np
import pytest

from medlora.data.anatomy import Head, draw_head, draw_signals
from medlora.data.lesions import Lesion, draw_lesion, place_lesion, radius_towards
from medlora.data.slices import draw_slice


def draw_case(kind: str, seed: int, plane: str) -> tuple[Head, Lesion, np.ndarray]:
    """A head, its lesion, and by how much the lesion changed each pixel."""
    rng = np.random.default_rng(seed)
    head = draw_head(rng, 128, plane)
    signals = draw_signals(rng)
    lesion = place_lesion(kind, rng, head)
    image = draw_slice(rng, head, signals)
    before = image.copy()
    draw_lesion(image, lesion, rng, head, signals)
    return head, lesion, np.abs(image - before)


@pytest.mark.parametrize("kind", ["glioma-like", "meningioma-like", "pituitary-like"])
@pytest.mark.parametrize("plane", ["skull base", "coronal", "sagittal"])
def test_a_lesion_changes_what_is_near_its_middle_and_nothing_far_away(
    kind: str, plane: str
) -> None:
    for seed in range(4):
        head, lesion, change = draw_case(kind, seed, plane)
        away = np.hypot(head.x - lesion.x, head.y - lesion.y)
        assert change[away < 1.2 * lesion.radius].mean() > 0.02
        assert change[away > 4 * lesion.radius + 0.3].max(initial=0) == 0


@pytest.mark.parametrize("kind", ["glioma-like", "meningioma-like"])
def test_lesions_of_the_brain_and_its_coverings_stay_within_the_skull(kind: str) -> None:
    for seed in range(6):
        head, _, change = draw_case(kind, seed, "axial")
        assert change[head.depth < -0.15].max() < 0.05


@pytest.mark.parametrize("plane", ["skull base", "coronal", "sagittal"])
def test_pituitary_lesions_sit_on_the_sella(plane: str) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        head = draw_head(rng, 96, plane)
        lesion = place_lesion("pituitary-like", rng, head)
        assert head.sella is not None
        assert math.dist((lesion.x, lesion.y), head.sella) < lesion.radius + 0.02


def test_meningiomas_touch_the_covering_that_they_grow_from() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        head = draw_head(rng, 96, "axial")
        lesion = place_lesion("meningioma-like", rng, head)
        skull = radius_towards(head, math.atan2(lesion.y, lesion.x))
        to_skull = skull - math.hypot(lesion.x, lesion.y)
        assert min(to_skull, abs(lesion.x)) < lesion.radius
