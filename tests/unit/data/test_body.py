"""Cropping to the head or chest."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from medlora.data.body import crop_to_body, find_body
from medlora.data.image import decode_image
from medlora.data.phantoms import MARK_BOX, draw_phantom

HEAD_BOX = (30, 150, 50, 150)  # top, bottom, left, right


def draw_head(level: int = 140, background: int = 0) -> np.ndarray:
    """An oval with a dark middle on a dark ground, 200 x 220 pixels."""
    row, column = np.mgrid[:200, :220]
    top, bottom, left, right = HEAD_BOX
    middle = ((top + bottom - 1) / 2, (left + right - 1) / 2)
    radius = np.hypot(
        (row - middle[0]) / ((bottom - top) / 2), (column - middle[1]) / ((right - left) / 2)
    )
    grey = np.where(radius <= 1, level, background)
    grey = np.where(radius < 0.3, background, grey).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def write_text(pixels: np.ndarray, place: tuple[int, int], text: str = "L 12:30") -> np.ndarray:
    image = Image.fromarray(pixels)
    font = ImageFont.load_default(size=12)
    ImageDraw.Draw(image).text(place, text, fill=(255, 255, 255), font=font)
    return np.asarray(image)


def test_the_box_holds_the_head_and_little_else() -> None:
    body = find_body(draw_head(background=6))
    top, bottom, left, right = HEAD_BOX
    assert top - 10 <= body.rows.start <= top - 7
    assert bottom + 7 <= body.rows.stop <= bottom + 10
    assert left - 20 <= body.columns.start <= left - 16
    assert right + 16 <= body.columns.stop <= right + 20


def test_the_box_is_a_square_as_far_as_the_picture_reaches() -> None:
    whole = find_body(draw_head())
    assert whole.rows.stop - whole.rows.start == whole.columns.stop - whole.columns.start
    narrow = find_body(draw_head()[:, 40:160])
    assert (narrow.columns.start, narrow.columns.stop) == (0, 120)
    assert narrow.rows == whole.rows


def test_text_beside_the_head_is_cut_off_and_moves_nothing() -> None:
    head = draw_head()
    np.testing.assert_array_equal(
        crop_to_body(write_text(head, (5, 2))), crop_to_body(head), strict=True
    )


def test_text_in_a_corner_of_the_box_becomes_background() -> None:
    head = draw_head(background=9)
    marked = write_text(head, (52, 32), "R")
    assert np.abs(marked.astype(int) - head).max() > 100
    before = marked.copy()
    cropped = crop_to_body(marked)
    np.testing.assert_array_equal(marked, before)
    assert cropped.shape == crop_to_body(head).shape
    assert np.abs(cropped.astype(int) - crop_to_body(head)).max() <= 30
    assert np.abs(cropped.astype(int) - crop_to_body(head))[:15, :15].max() == 0


def test_a_white_frame_is_a_border() -> None:
    framed = np.pad(draw_head(), ((12, 12), (20, 7), (0, 0)), constant_values=255)
    np.testing.assert_array_equal(crop_to_body(framed), crop_to_body(draw_head()))


def test_a_lesion_apart_in_a_bay_of_the_body_stays() -> None:
    """A bright spot between jaw and skull is anatomy, however small and bright."""
    head = draw_head()
    head[80:120, 50:90] = 0
    head[95:100, 65:70] = 255
    body = find_body(head)
    assert not body.marks.any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 5), (16, 16)])
@pytest.mark.parametrize("level", [0, 77, 255])
def test_one_flat_colour_is_kept_whole(shape: tuple[int, int], level: int) -> None:
    pixels = np.full((*shape, 3), level, dtype=np.uint8)
    np.testing.assert_array_equal(crop_to_body(pixels), pixels)


def test_a_picture_without_dark_background_is_kept_whole() -> None:
    pixels = np.random.default_rng(0).integers(90, 255, (60, 70, 3)).astype(np.uint8)
    np.testing.assert_array_equal(crop_to_body(pixels), pixels)


def test_small_specks_are_no_body() -> None:
    pixels = np.zeros((200, 200, 3), dtype=np.uint8)
    pixels[20:24, 30:34] = pixels[150:153, 90:95] = 200
    pixels[::40, ::2] = 5
    assert crop_to_body(pixels).shape[0] > 100


@pytest.mark.parametrize("factor", [1, 6])
def test_size_of_the_picture_does_not_matter(factor: int) -> None:
    head = draw_head().repeat(factor, axis=0).repeat(factor, axis=1)
    body = find_body(head)
    found = (body.rows.start, body.rows.stop, body.columns.start, body.columns.stop)
    np.testing.assert_allclose(np.array(found) / factor, (22, 158, 32, 168), atol=3)


def test_colour_is_kept() -> None:
    head = draw_head()
    head[..., 2] //= 2
    cropped = crop_to_body(head)
    assert set(np.unique(cropped[..., 2])) == {0, 70}


@pytest.mark.parametrize("kind", ["glioma-like", "no-lesion"])
def test_the_word_on_phantoms_goes_and_the_head_stays(kind: str) -> None:
    for seed in range(3):
        pixels = np.repeat(draw_phantom(kind, np.random.default_rng(seed))[:, :, None], 3, axis=2)
        body = find_body(pixels)
        cut = pixels[body.rows, body.columns].copy()
        head = pixels.copy()
        height, width = MARK_BOX
        head[:height, :width] = 0
        assert (cut > 90).sum() > 0.99 * (head > 90).sum()
        cut[body.marks] = 0
        # What is left of the word's own square is no brighter than air is.
        rest = cut[: max(height - body.rows.start, 0), : max(width - body.columns.start, 0)]
        assert rest.size == 0 or rest.max() < 90


def test_real_heads_and_chests_are_kept(shared_dir) -> None:
    data = shared_dir / "data"
    paths = [
        *sorted((data / "brain_tumor_mri" / "Training").glob("*/*"))[::250],
        *sorted((data / "chest_xray_pneumonia" / "images").glob("*/*/*"))[::250],
    ]
    assert len(paths) > 15
    for path in paths:
        pixels = decode_image(path.read_bytes(), path.name)
        body = find_body(pixels)
        cut = pixels[body.rows, body.columns]
        # Whatever is bright enough to be tissue lies in what is kept.
        level = 0.35 * np.quantile(pixels, 0.99)
        assert (cut > level).sum() > 0.985 * (pixels > level).sum(), path
