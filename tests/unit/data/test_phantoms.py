"""Phantoms: reproducible, marked as synthetic, and without a shortcut to the class."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medlora.data.phantoms import (
    MARK_BOX,
    PHANTOM_CLASSES,
    SIZES,
    draw_marked_phantom,
    draw_phantom,
    encode_phantom,
    write_phantoms,
)
from medlora.errors import DataError, SettingsError, StorageError


def read_tree(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("kind", PHANTOM_CLASSES)
def test_the_same_seed_draws_the_same_phantom_and_another_seed_another(kind: str) -> None:
    first, again, other = (draw_phantom(kind, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first.dtype == np.uint8
    assert first.shape == (160, 160)
    np.testing.assert_array_equal(first, again)
    assert np.mean(first != other) > 0.2


@pytest.mark.parametrize("size", [96, 131, 256])
def test_a_phantom_has_the_size_asked_for_and_a_head_in_its_middle(size: int) -> None:
    pixels = draw_phantom("no-lesion", np.random.default_rng(1), size)
    assert pixels.shape == (size, size)
    middle = pixels[size // 3 : 2 * size // 3, size // 3 : 2 * size // 3]
    rim = np.concatenate([pixels[size // 4 :, 0], pixels[size // 4 :, -1]])
    assert middle.mean() > 2 * np.median(rim)


def test_the_mark_is_the_same_on_every_phantom_and_can_be_seen() -> None:
    height, width = MARK_BOX
    marks = {
        draw_phantom(kind, np.random.default_rng([n, size]), size)[:height, :width].tobytes()
        for n, kind in enumerate(PHANTOM_CLASSES)
        for size in SIZES
    }
    assert len(marks) == 1
    mark = np.frombuffer(marks.pop(), np.uint8)
    assert mark.max() > 100
    assert mark.min() == 0


def test_class_cannot_be_told_from_brightness_file_size_or_resolution() -> None:
    rows, labels = [], []
    for label, kind in enumerate(PHANTOM_CLASSES):
        for index in range(40):
            content = encode_phantom(kind, np.random.default_rng([11, label, index]))
            pixels = np.asarray(Image.open(io.BytesIO(content)))
            rows.append([pixels.mean(), len(content), len(content) / pixels.size, len(pixels)])
            labels.append(label)
    features, classes = np.array(rows), np.array(labels)
    training = np.arange(len(classes)) % 2 == 0
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(features[training], classes[training])
    decisions = model.predict(features[~training])
    assert balanced_accuracy_score(classes[~training], decisions) < 0.45


def test_folders_layout_is_reproducible_to_the_byte_and_readable(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "a", 2, seed=4)
    write_phantoms(tmp_path / "b", 2, seed=4)
    write_phantoms(tmp_path / "c", 2, seed=5)
    first, again, other = (read_tree(tmp_path / name) for name in "abc")
    assert first == again
    names = {f"{kind}/phantom_{n:04d}.png" for kind in PHANTOM_CLASSES for n in range(2)}
    assert set(first) == names | {"README.txt"}
    assert all(first[name] != other[name] for name in names)
    assert len({first[name] for name in names}) == len(names)
    for name in names:
        image = Image.open(io.BytesIO(first[name]))
        assert image.mode == "L"
        assert image.width == image.height
        assert image.width in SIZES


def test_more_images_keep_those_that_were_there(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "few", 1, seed=0)
    write_phantoms(tmp_path / "more", 2, seed=0)
    few, more = read_tree(tmp_path / "few"), read_tree(tmp_path / "more")
    images = [name for name in few if name.endswith(".png")]
    assert len(images) == 4
    assert all(few[name] == more[name] for name in images)


@pytest.mark.parametrize(("n_per_class", "n_training"), [(2, 1), (5, 4)])
def test_split_layout_keeps_a_fifth_for_testing(
    tmp_path: Path, n_per_class: int, n_training: int
) -> None:
    write_phantoms(tmp_path / "data", n_per_class, seed=1, layout="split")
    for kind in PHANTOM_CLASSES:
        training = {path.name for path in (tmp_path / "data/Training" / kind).iterdir()}
        testing = {path.name for path in (tmp_path / "data/Testing" / kind).iterdir()}
        assert len(training) == n_training
        assert len(training | testing) == n_per_class
        assert not training & testing


def test_readme_says_synthetic_and_gives_the_seed(tmp_path: Path) -> None:
    write_phantoms(tmp_path, 1, seed=123)
    text = (tmp_path / "README.txt").read_text(encoding="utf-8")
    assert "SYNTHETIC IMAGES - NOT FOR DIAGNOSIS" in text
    assert "seed 123" in text


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"empty folder only.*Choose another folder"):
        write_phantoms(tmp_path, 1, seed=0)
    assert read_tree(tmp_path) == {"notes.txt": b"mine"}
    with pytest.raises(DataError, match="empty folder only"):
        write_phantoms(tmp_path / "notes.txt", 1, seed=0)


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="could not be written"):
        write_phantoms(tmp_path / "file" / "data", 1, seed=0)


def test_requests_outside_the_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not 'sarcoma'"):
        draw_phantom("sarcoma", np.random.default_rng(0))
    with pytest.raises(SettingsError, match="at least 96 pixels wide, not 95"):
        draw_phantom("no-lesion", np.random.default_rng(0), 95)
    with pytest.raises(SettingsError, match="1 or more images of each class, not 0"):
        write_phantoms(tmp_path / "new", 0, seed=0)
    with pytest.raises(SettingsError, match="2 or more images of each class, not 1"):
        write_phantoms(tmp_path / "new", 1, seed=0, layout="split")
    with pytest.raises(SettingsError, match="0 or more, not -1"):
        write_phantoms(tmp_path / "new", 1, seed=-1)
    with pytest.raises(SettingsError, match="not 'flat'"):
        write_phantoms(tmp_path / "new", 1, seed=0, layout="flat")  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_importing_phantoms_does_not_import_torch() -> None:
    command = "import sys, medlora.data.phantoms; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


@pytest.mark.parametrize("kind", PHANTOM_CLASSES)
def test_a_lesion_lies_where_it_is_said_to_lie(kind: str) -> None:
    shares = []
    for index in range(6):
        rng = [np.random.default_rng([7, index]) for _ in range(2)]
        pixels, lesion = draw_marked_phantom(kind, rng[0], 160)
        np.testing.assert_array_equal(pixels, draw_phantom(kind, rng[1], 160))
        assert lesion.shape == pixels.shape
        shares.append(lesion.mean())
    if kind == "no-lesion":
        assert max(shares) == 0
    else:
        assert min(shares) > 0.001
        assert max(shares) < 0.4


def test_the_mask_of_a_lesion_is_where_the_picture_changes() -> None:
    """Without its lesion the same head looks alike outside of the mask, and not inside."""
    import medlora.data.phantoms as phantoms

    drawn = []
    for draw in (phantoms.draw_lesion, lambda *arguments: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(phantoms, "draw_lesion", draw)
            patch.setattr(phantoms, "acquire", lambda image, rng: (255 * image).astype(np.uint8))
            drawn.append(draw_marked_phantom("meningioma-like", np.random.default_rng(3), 160))
    (ill, lesion), (healthy, nothing) = drawn
    change = np.abs(ill.astype(int) - healthy)
    assert not nothing.any()
    assert change[lesion].min() >= 0.05 * 255 - 1
    assert change[~lesion].max() <= 0.05 * 255 + 1
