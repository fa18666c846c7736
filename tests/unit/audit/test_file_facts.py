import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from medlora.audit.facts import FACT_NAMES, count_letters, measure_border, measure_facts


def encode(picture, file_format, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, file_format, **options)
    return stream.getvalue()


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(40, 120, (30, 60), dtype=np.uint8)


def measure(content, picture, n_colours=1) -> dict[str, float]:
    return dict(zip(FACT_NAMES, measure_facts(content, picture, n_colours), strict=True))


def test_size_and_intensity_are_measured(picture) -> None:
    content = encode(picture, "PNG")
    facts = measure(content, picture)
    assert (facts["width"], facts["height"], facts["aspect"]) == (60, 30, 2)
    assert facts["file size"] == len(content)
    assert facts["bytes per pixel"] == len(content) / 1800
    assert facts["mean intensity"] == pytest.approx(picture.mean())
    assert facts["spread of intensity"] == pytest.approx(picture.std())
    assert facts["compression"] == 0


def test_formats_modes_and_qualities_differ(picture) -> None:
    png, good, poor = (
        measure(content, picture)
        for content in (
            encode(picture, "PNG"),
            encode(picture, "JPEG", quality=95),
            encode(picture, "JPEG", quality=30),
        )
    )
    assert png["file format"] != good["file format"] == poor["file format"]
    assert 0 < good["compression"] < poor["compression"]
    colour = encode(np.repeat(picture[..., None], 3, axis=2), "PNG")
    assert measure(colour, picture)["colour mode"] != png["colour mode"]
    assert measure(colour, picture, 3)["colour mode"] != measure(colour, picture)["colour mode"]


def test_what_pillow_does_not_know_has_no_format(picture) -> None:
    facts = measure(b"\x93NUMPY and more", picture)
    assert (facts["file format"], facts["compression"]) == (0, 0)


def test_a_border_is_as_wide_as_it_is_flat(picture) -> None:
    framed = np.pad(picture, ((10, 0), (0, 0)), constant_values=255)
    assert measure_border(framed)[0] == pytest.approx(10 / 40 / 4)
    assert measure_border(np.zeros((8, 8), np.uint8)) == (0.5, 0.0)
    assert measure_border(picture)[0] == 0


def test_letters_at_the_edge_are_counted_and_tissue_is_not() -> None:
    image = Image.new("L", (384, 384), 30)
    assert count_letters(np.asarray(image)) == 0
    ImageDraw.Draw(image).text((20, 20), "L R 7", fill=255, font_size=22)
    assert count_letters(np.asarray(image)) == 3
    disc = Image.new("L", (384, 384), 30)
    ImageDraw.Draw(disc).ellipse((120, 120, 260, 260), fill=255)
    assert count_letters(np.asarray(disc)) == 0
