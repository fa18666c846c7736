import numpy as np
import pytest
from skimage.exposure import equalize_adapthist, equalize_hist

from medlora.data.contrast import enhance_contrast
from medlora.preprocessing import Contrast


@pytest.fixture
def dull_grey() -> np.ndarray:
    """A dark ramp with noise, all three channels alike."""
    rng = np.random.default_rng(0)
    grey = np.linspace(60, 90, 48)[:, None] + rng.normal(0, 3, (48, 40))
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


def test_none_changes_nothing(dull_grey: np.ndarray) -> None:
    assert enhance_contrast(dull_grey, "none") is dull_grey


@pytest.mark.parametrize("contrast", ["equalize", "clahe"])
def test_grey_stays_grey_and_spreads(dull_grey: np.ndarray, contrast: Contrast) -> None:
    before = dull_grey.copy()
    enhanced = enhance_contrast(dull_grey, contrast)
    assert enhanced.dtype == np.uint8
    assert enhanced.std() > 2 * dull_grey.std()
    np.testing.assert_array_equal(enhanced[..., 0], enhanced[..., 1])
    np.testing.assert_array_equal(enhanced[..., 0], enhanced[..., 2])
    np.testing.assert_array_equal(dull_grey, before)


@pytest.mark.parametrize(
    ("contrast", "reference"), [("equalize", equalize_hist), ("clahe", equalize_adapthist)]
)
def test_grey_agrees_with_scikit_image(
    dull_grey: np.ndarray, contrast: Contrast, reference: object
) -> None:
    expected = reference(dull_grey[..., 0] / 255.0) * 255  # type: ignore[operator]
    assert np.abs(enhance_contrast(dull_grey, contrast)[..., 1] - expected).max() < 0.51


@pytest.mark.parametrize("contrast", ["equalize", "clahe"])
def test_colour_differences_are_kept(contrast: Contrast) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(110, 140, (40, 40, 3)).astype(np.uint8)
    enhanced = enhance_contrast(pixels, contrast)
    inside = ((enhanced > 0) & (enhanced < 255)).all(axis=2)
    assert inside.mean() > 0.5
    moved = enhanced.astype(int) - pixels
    np.testing.assert_array_equal(moved[inside][:, 0], moved[inside][:, 1])
    np.testing.assert_array_equal(moved[inside][:, 0], moved[inside][:, 2])
    assert np.abs(moved).max() > 20


@pytest.mark.parametrize("contrast", ["equalize", "clahe"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (3, 2), (64, 64)])
def test_one_luminance_stays_as_it_is(contrast: Contrast, shape: tuple[int, int]) -> None:
    pixels = np.full((*shape, 3), 77, dtype=np.uint8)
    np.testing.assert_array_equal(enhance_contrast(pixels, contrast), pixels)


@pytest.mark.parametrize("contrast", ["equalize", "clahe"])
@pytest.mark.parametrize("shape", [(1, 2), (2, 30), (5, 3)])
def test_tiny_images_work(contrast: Contrast, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (*shape, 3)).astype(np.uint8)
    assert enhance_contrast(pixels, contrast).shape == (*shape, 3)
