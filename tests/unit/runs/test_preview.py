"""Which images a preview shows, and what of them."""

import numpy as np
import pytest
from PIL import Image

from medlora.data.image import decode_image, prepare_image
from medlora.data.table import ImageTable, read_table
from medlora.preprocessing import Preprocessing
from medlora.runs.preview import pick_rows, preview_rows
from run_samples import write_images, write_manifest


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> ImageTable:
    """Two classes in two splits, 3 images each; patients have names."""
    folder = tmp_path_factory.mktemp("preview")
    write_images(folder, n_per_class=6)
    rows = [
        {
            "path": path.relative_to(folder).as_posix(),
            "label": path.parent.name,
            "split": ("train", "test")[number % 2],
            "patient": f"Person {number}",
        }
        for number, path in enumerate(sorted(folder.glob("*/*.png")))
    ]
    return read_table(write_manifest(folder / "list.csv", rows))


@pytest.mark.parametrize("n_images", [1, 4, 7, 12, 60])
def test_classes_and_splits_come_in_turn(table, n_images) -> None:
    rows = pick_rows(table, n_images, seed=0)
    assert len(set(rows)) == len(rows) == min(n_images, 12)
    keys = [(int(table.labels[row]), str(table.splits[row])) for row in rows]
    assert keys == sorted(keys)
    counts = [
        keys.count(key) for key in {(label, s) for label in (0, 1) for s in ("train", "test")}
    ]
    assert max(counts) - min(counts) <= 1


def test_the_seed_decides(table) -> None:
    assert pick_rows(table, 4, seed=3) == pick_rows(table, 4, seed=3)
    assert len({tuple(pick_rows(table, 4, seed=seed)) for seed in range(8)}) > 2


def test_each_step_is_shown_and_the_input_last(table) -> None:
    preprocessing = Preprocessing(
        (16, 12), (0.5,) * 3, (0.5,) * 3, contrast="equalize", steps=("crop", "denoise")
    )
    told: list[tuple[int, int]] = []
    rows = pick_rows(table, 4, seed=1)
    shown = preview_rows(
        table, rows, preprocessing, lambda stage, done, total: told.append((done, total))
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for row, result in zip(rows, shown, strict=True):
        assert result.titles == ("original", "crop", "denoise", "equalize", "input")
        location = table.locations[row]
        pixels = decode_image(table.source.read_bytes(location), location)
        np.testing.assert_array_equal(result.pictures[0], pixels)
        expected = prepare_image(pixels, preprocessing).transpose(1, 2, 0)
        np.testing.assert_array_equal(result.pictures[-1], expected)
        assert result.label == f"{table.classes[table.labels[row]]}\n{table.splits[row]}"


def test_each_series_of_a_case_has_a_row(tmp_path) -> None:
    channels = ("path_t1", "path_t2")
    whole = np.zeros((60, 80), dtype=np.uint8)
    whole[10:50, 20:60] = 150
    Image.fromarray(whole).save(tmp_path / "t1.png")
    Image.fromarray(whole // 2).save(tmp_path / "t2.png")
    case = {"path_t1": "t1.png", "path_t2": "t2.png", "label": "glioma", "split": "test"}
    listed = write_manifest(tmp_path / "cases.csv", [case])
    cases = read_table(listed, channels=channels, classes=("glioma",))
    preprocessing = Preprocessing(
        (16, 12), (0.5,) * 2, (0.5,) * 2, steps=("crop", "denoise"), channels=channels
    )
    shown = preview_rows(cases, [0], preprocessing)
    assert [row.label for row in shown] == ["glioma\ntest\npath_t1", "glioma\ntest\npath_t2"]
    decoded = decode_image(cases.source.read_bytes(cases.locations[0]), cases.locations[0])
    prepared = prepare_image(decoded, preprocessing)
    for row, pixels, channel in zip(shown, decoded, prepared, strict=True):
        assert row.titles == ("original", "crop", "denoise", "input")
        np.testing.assert_array_equal(row.pictures[0], pixels)
        assert row.pictures[1].shape == (40, 40, 3)
        np.testing.assert_array_equal(row.pictures[-1], np.stack([channel] * 3, axis=-1))
