"""Removal of noise."""

import numpy as np
import pytest

from medlora.data.denoising import estimate_noise, remove_noise


def draw_scene() -> np.ndarray:
    """Smooth shading, an edge and a small bright spot; grey levels."""
    row, column = np.mgrid[:90, :80].astype(float)
    scene = 90 + 20 * np.sin(row / 25) + 15 * np.cos(column / 30)
    scene[:, 40:] += 50
    scene[20:25, 10:15] = 220
    return scene


def make_noisy(noise: float, seed: int = 0) -> np.ndarray:
    shifted = draw_scene() + np.random.default_rng(seed).normal(0, noise, (90, 80))
    return np.repeat(np.rint(shifted.clip(0, 255)).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("noise", [4.0, 10.0])
def test_error_falls_and_edges_stand(noise: float) -> None:
    scene, noisy = draw_scene(), make_noisy(noise)
    quiet = remove_noise(noisy)
    assert quiet.shape == noisy.shape
    before = np.sqrt(np.mean((noisy[..., 0] - scene) ** 2))
    after = np.sqrt(np.mean((quiet[..., 0] - scene) ** 2))
    assert after < 0.55 * before
    step = quiet[50:, 41:44, 0].mean() - quiet[50:, 36:39, 0].mean()
    assert abs(step - 50) < 6
    assert quiet[21:24, 11:14].mean() > 205


@pytest.mark.parametrize("noise", [2.0, 5.0, 12.0])
def test_noise_is_estimated(noise: float) -> None:
    luminance = make_noisy(noise)[..., 0].astype(float)
    assert abs(estimate_noise(luminance) - noise) < 0.12 * noise + 0.1


def test_black_surroundings_do_not_hide_the_noise() -> None:
    framed = np.zeros((300, 300))
    framed[100:190, 100:180] = make_noisy(6.0)[..., 0]
    assert abs(estimate_noise(framed) - 6) < 1


def test_a_clean_picture_is_returned_as_it_is() -> None:
    clean = np.tile(np.arange(0, 240, 4, dtype=np.uint8)[:, None, None], (1, 50, 3))
    assert remove_noise(clean) is clean


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (7, 40), (8, 8), (9, 12)])
def test_tiny_pictures_work(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8)
    assert remove_noise(pixels).shape == pixels.shape


def test_colour_differences_are_kept() -> None:
    noisy = make_noisy(6.0) // 2 + np.array([40, 20, 60], dtype=np.uint8)
    quiet = remove_noise(noisy).astype(int)
    assert not np.array_equal(quiet, noisy)
    np.testing.assert_array_equal(quiet[..., 0] - quiet[..., 1], 20)
    np.testing.assert_array_equal(quiet[..., 2] - quiet[..., 0], 20)
