"""Geometry of the phantoms' heads."""

import numpy as np
import pytest

from medlora.data.anatomy import (
    PLANES,
    SEQUENCES,
    Push,
    draw_folds,
    draw_head,
    draw_signals,
    draw_texture,
    measure_ellipse,
    measure_segment,
    paint,
    push_brain,
)

ROWS, COLUMNS = np.mgrid[-1:1:41j, -1:1:41j].astype(np.float32)


def test_distance_from_a_circle_is_exact_wherever_it_is_turned() -> None:
    distance = measure_ellipse(COLUMNS, ROWS, (0.2, -0.1), (0.5, 0.5), 0.7)
    np.testing.assert_allclose(distance, np.hypot(COLUMNS - 0.2, ROWS + 0.1) - 0.5, atol=1e-6)


def test_an_ellipse_is_turned_by_its_angle() -> None:
    distance = measure_ellipse(COLUMNS, ROWS, (0.0, 0.0), (0.8, 0.2), np.pi / 2)
    assert distance[20 + 14, 20] < 0  # (x, y) = (0, 0.7)
    assert distance[20, 20 + 14] > 0  # (0.7, 0)


def test_distance_from_a_segment_agrees_with_the_nearest_of_many_points() -> None:
    start, end = (-0.5, -0.2), (0.3, 0.6)
    points = np.linspace(start, end, 4001)
    slow = np.array(
        [
            np.hypot(points[:, 0] - x, points[:, 1] - y).min()
            for x, y in zip(COLUMNS.flat, ROWS.flat, strict=True)
        ]
    )
    fast = measure_segment(COLUMNS, ROWS, start, end)
    np.testing.assert_allclose(fast.ravel(), slow, atol=2e-4)


def test_paint_covers_the_inside_half_the_border_and_nothing_outside() -> None:
    image = np.full((1, 3), 0.2, np.float32)
    paint(image, np.array([[-1.0, 0.0, 1.0]], np.float32), 1.0, 0.5)
    np.testing.assert_allclose(image, [[1.0, 0.6, 0.2]], atol=1e-6)


def test_texture_has_about_zero_mean_and_unit_variance() -> None:
    rng = np.random.default_rng(0)
    textures = np.stack([draw_texture(rng, 64, 14) for _ in range(60)])
    assert abs(textures.mean()) < 0.1
    assert 0.7 < textures.var() < 1.4


@pytest.mark.parametrize("plane", PLANES)
def test_a_head_fits_its_frame_and_has_a_sella_where_the_plane_crosses_it(plane: str) -> None:
    for seed in range(5):
        head = draw_head(np.random.default_rng(seed), 96, plane)
        assert 0.2 < np.mean(head.depth > 0) < 0.75
        assert (head.sella is None) == (plane == "axial")
        if plane in ("axial", "skull base"):
            rim = np.concatenate([head.depth[0], head.depth[-1], head.depth[:, 0]])
            assert rim.max() < 0


def test_fluid_is_never_further_away_than_the_surface_of_the_brain() -> None:
    rng = np.random.default_rng(2)
    head = draw_head(rng, 96, "axial")
    distance = draw_folds(rng, head, head.depth)
    assert np.all(distance <= head.depth)
    assert np.mean(distance[head.depth > 0.05] < 0.01) > 0.01


def test_a_push_moves_tissue_away_from_the_mass_and_leaves_the_rest() -> None:
    head = draw_head(np.random.default_rng(0), 96, "axial")
    x, y = push_brain(head, Push(0.2, 0.1, 0.2, 0.4))
    before = np.hypot(head.x - 0.2, head.y - 0.1)
    after = np.hypot(x - 0.2, y - 0.1)
    assert np.all(after <= before + 1e-6)
    assert np.all(after[before < 0.2] < 0.8 * before[before < 0.2] + 1e-6)
    np.testing.assert_allclose(after[before > 1.2], before[before > 1.2], atol=1e-3)


def test_without_a_mass_nothing_moves() -> None:
    head = draw_head(np.random.default_rng(0), 96, "axial")
    x, y = push_brain(head, None)
    assert x is head.x
    assert y is head.y


def test_fluid_is_dark_and_white_matter_bright_in_t1_and_the_reverse_in_t2() -> None:
    t1, t2 = SEQUENCES["T1"], SEQUENCES["T2"]
    assert t1.csf < t1.grey < t1.white
    assert t2.csf > t2.grey > t2.white


def test_drawn_signals_stay_near_one_of_the_sequences() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        signals = draw_signals(rng)
        ratios = [signals.csf / known.csf for known in SEQUENCES.values()]
        assert any(0.88 <= ratio <= 1.12 for ratio in ratios)
