"""Heat maps as pictures."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from medlora.errors import SettingsError
from medlora.report.heat_map import blend_map, draw_overlay, draw_panels, paint_map


def read(content: bytes) -> np.ndarray:
    with Image.open(BytesIO(content)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def draw(height: int, width: int):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (height, width, 1), dtype=np.uint8).repeat(3, axis=2)
    heat = np.zeros((height, width), dtype=np.float32)
    heat[: height // 2, : width // 2] = 1
    return pixels, heat


def test_the_picture_stays_where_the_map_is_nought() -> None:
    pixels, heat = draw(20, 30)
    mixed = blend_map(pixels, heat)
    assert (mixed[10:] == pixels[10:]).all()
    assert (mixed[:, 15:] == pixels[:, 15:]).all()
    changed = mixed[:10, :15].astype(int)
    # No grey: the colour can be told from the picture.
    assert (changed.max(axis=2) - changed.min(axis=2)).min() > 100
    # And the picture can still be seen through it.
    assert np.corrcoef(changed[..., 0].ravel(), pixels[:10, :15, 0].ravel())[0, 1] > 0.99


def test_larger_values_are_lighter() -> None:
    steps = np.linspace(0, 1, 9, dtype=np.float32)[np.newaxis]
    brightness = paint_map(steps)[0].astype(int).sum(axis=1)
    assert (np.diff(brightness) > 0).all()


@pytest.mark.parametrize("shape", [(300, 400), (28, 28), (3000, 40)])
def test_three_panels_lie_side_by_side(shape) -> None:
    pixels, heat = draw(*shape)
    sheet = read(draw_panels(pixels, heat, "lesion: 0.912 (grad-cam)"))
    longer = min(max(*shape, 256), 2048)
    width = max(round(shape[1] * longer / max(shape)), 1)
    assert sheet.shape[1] == 3 * width + 32
    assert sheet.shape[0] > round(shape[0] * longer / max(shape))
    panels = [sheet[-9, 8 + k * (width + 8) : 8 + k * (width + 8) + width] for k in range(3)]
    # At the bottom the map is nought: its panel has one colour, the others show the picture.
    assert (panels[1] == panels[1][0]).all()
    assert (panels[0] == panels[2]).all()
    title = sheet[:20]
    assert title.min() < 100


def test_panels_have_the_pixels_of_the_picture() -> None:
    pixels, heat = draw(300, 400)
    sheet = read(draw_panels(pixels, heat, "x"))
    assert (sheet[-308:-8, 8:408] == pixels).all()
    assert (sheet[-308:-8, 824:1224] == blend_map(pixels, heat)).all()


def test_a_caution_has_a_line_of_its_own() -> None:
    pixels, heat = draw(300, 400)
    plain, warned = (read(draw_panels(pixels, heat, "x", words)) for words in ("", "abstain: why"))
    assert warned.shape[0] > plain.shape[0] and warned.shape[1] == plain.shape[1]
    assert (warned[-308:] == plain[-308:]).all()
    reds = [(each[:-308, :, 0] - each[:-308, :, 1]).max() for each in (plain, warned)]
    assert reds[0] == 0 and reds[1] > 100


def test_a_long_title_is_cut() -> None:
    pixels, heat = draw(256, 256)
    short, long = (read(draw_panels(pixels, heat, "w" * n)) for n in (3, 500))
    assert short.shape == long.shape
    assert (long[:20, -6:] == 255).all()


def test_an_overlay_is_small() -> None:
    pixels, heat = draw(300, 400)
    shown = read(draw_overlay(pixels, heat, side=100))
    assert shown.shape == (75, 100, 3)
    with pytest.raises(SettingsError, match=r"shape \(2, 2\) does not fit a picture of shape"):
        draw_overlay(pixels, heat[:2, :2])
