"""Series of a case as one content, and as channels of one image."""

import numpy as np
import pytest
from PIL import Image

from medlora.data.image import decode_image, prepare_image
from medlora.data.rows import read_rows
from medlora.data.series import SeriesSource, holds_series, join_places
from medlora.data.source import FolderSource
from medlora.errors import DataError, SettingsError, UnreadableImageError
from medlora.preprocessing import Preprocessing

CHANNELS = ("path_t1", "path_t2")


def make_preprocessing(**changes) -> Preprocessing:
    values = {"mean": (0.5, 0.4), "std": (0.5, 0.5), "channels": CHANNELS}
    return Preprocessing((16, 16), **(values | changes))


@pytest.fixture
def source(tmp_path) -> SeriesSource:
    rng = np.random.default_rng(0)
    for name in ("a", "b", "copy_of_a"):
        grey = rng.integers(0, 255, (20, 24)).astype(np.uint8)
        if name != "copy_of_a":
            Image.fromarray(grey).save(tmp_path / f"{name}.png")
    (tmp_path / "copy_of_a.png").write_bytes((tmp_path / "a.png").read_bytes())
    return SeriesSource(FolderSource(tmp_path), CHANNELS)


def test_each_series_is_a_channel(source, tmp_path) -> None:
    pixels = decode_image(source.read_bytes("a.png|b.png"), "a.png|b.png")
    assert pixels.shape == (2, 20, 24, 3)
    prepared = prepare_image(pixels, make_preprocessing(contrast="equalize"))
    assert prepared.shape == (2, 16, 16)
    plain = Preprocessing((16, 16), (0.5,) * 3, (0.5,) * 3, contrast="equalize")
    for number, name in enumerate("ab"):
        alone = decode_image((tmp_path / f"{name}.png").read_bytes(), name)
        np.testing.assert_array_equal(prepared[number], prepare_image(alone, plain)[0])


def test_copies_of_a_case_have_the_same_bytes(source) -> None:
    assert source.read_bytes("a.png|b.png") == source.read_bytes("copy_of_a.png|b.png")
    assert source.read_bytes("a.png|b.png") != source.read_bytes("b.png|a.png")


def test_frames_are_part_of_the_content(source, tmp_path) -> None:
    frames = [Image.fromarray(np.full((9, 9), level, np.uint8)) for level in (10, 200)]
    frames[0].save(tmp_path / "two.tif", save_all=True, append_images=frames[1:])
    location = "two.tif#frame=1|two.tif"
    pixels = decode_image(source.read_bytes(location), location)
    assert pixels[:, 0, 0, 0].tolist() == [200, 10]


def test_the_crop_is_one_for_all_series() -> None:
    pixels = np.zeros((2, 60, 60, 3), dtype=np.uint8)
    pixels[0, 20:40, 20:35] = 200
    pixels[1, 20:40, 25:45] = 200
    prepared = prepare_image(pixels, make_preprocessing(steps=("crop",), interpolation="nearest"))
    # What the second one alone reaches stays dark in the first.
    right = prepared[:, :, -5]
    assert right[0].max() == 0
    assert right[1].max() == 200


def test_borders_have_each_channels_mean() -> None:
    pixels = np.full((2, 10, 20, 3), 255, dtype=np.uint8)
    prepared = prepare_image(pixels, make_preprocessing(crop_mode="border", mean=(0.2, 0.6)))
    assert prepared[:, 0, 0].tolist() == [51, 153]


def test_other_images_than_the_task_wants_are_refused() -> None:
    single = np.zeros((10, 10, 3), dtype=np.uint8)
    with pytest.raises(
        SettingsError, match="takes the series path_t1, path_t2 of each case, not s"
    ):
        prepare_image(single, make_preprocessing())
    with pytest.raises(SettingsError, match="not 3 series"):
        prepare_image(np.stack([single] * 3), make_preprocessing())
    colour = Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(SettingsError, match="takes colour images, not 3 series"):
        prepare_image(np.stack([single] * 3), colour)


def test_what_is_wrong_names_the_series(source, tmp_path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG damaged")
    (tmp_path / "nested.png").write_bytes(source.read_bytes("a.png|b.png"))
    with pytest.raises(UnreadableImageError, match="its series path_t2 is missing"):
        source.read_bytes("a.png|")
    with pytest.raises(UnreadableImageError, match="its series path_t1: cannot be opened"):
        source.read_bytes("none.png|a.png")
    with pytest.raises(UnreadableImageError, match="names 1 series, not 2"):
        source.read_bytes("a.png")
    for name, said in (("bad", "its series path_t2: "), ("nested", "it holds several series")):
        content = source.read_bytes(f"a.png|{name}.png")
        assert holds_series(content)
        with pytest.raises(UnreadableImageError, match=said):
            decode_image(content, "case")


def test_a_manifest_with_columns_of_series(tmp_path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("path_t1,path_t2,label\na\\1.png, b.png,x\n,c.png,y\n")
    assert [row.values["path"] for row in read_rows(path, CHANNELS)] == ["a/1.png|b.png", "|c.png"]
    with pytest.raises(DataError, match="has no column path_flair for the series"):
        read_rows(path, ("path_t1", "path_flair"))
    with pytest.raises(DataError, match="names no series of the case"):
        join_places(["", ""], "cases.csv, line 2")
    with pytest.raises(DataError, match="vertical bar"):
        join_places(["a|b.png"], "cases.csv, line 2")


def test_names_of_channels_are_checked() -> None:
    with pytest.raises(SettingsError, match="must name each column once, not a, a"):
        make_preprocessing(channels=("a", "a"))
    with pytest.raises(SettingsError, match="must be names of columns"):
        make_preprocessing(channels=("a", ""))
    with pytest.raises(SettingsError, match="must have 1 values each, not 2 and 2"):
        make_preprocessing(channels=("a",))
    assert "channels" not in Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3).to_dict()
    known = make_preprocessing()
    assert Preprocessing.from_dict(known.to_dict()) == known
