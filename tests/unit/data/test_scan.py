"""One pass that hashes and decodes every image, and says which cannot be."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medlora.data.cache import ImageCache, NoCache, PreparedImages
from medlora.data.scan import Scan, leave_out_unreadable, scan_images
from medlora.data.table import ImageTable, read_table
from medlora.errors import DataError, UnreadableImageError, UnreadableImagesError
from medlora.preprocessing import Preprocessing

SMALL = Preprocessing(size=(8, 8), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def encode_image(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (12, 10), value).save(stream, "PNG")
    return stream.getvalue()


def write_folder(folder: Path, bad: tuple[int, ...] = ()) -> ImageTable:
    """Six images in two classes; the bad ones are cut short."""
    for number in range(6):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = encode_image(40 * number)
        path.write_bytes(content[: len(content) // 2] if number in bad else content)
    return read_table(folder)


def scan(table: ImageTable, cache: ImageCache | None = None, **settings: int) -> Scan:
    store = PreparedImages(table.source, table.locations, SMALL, cache or NoCache())
    return scan_images(table, store, **settings)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_every_image_is_hashed(tmp_path: Path, n_threads: int) -> None:
    table = write_folder(tmp_path)
    found = scan(table, n_threads=n_threads)
    assert found.errors == ()
    assert found.unreadable_rows.tolist() == []
    assert list(found.sha256) == [
        hashlib.sha256((tmp_path / location).read_bytes()).hexdigest()
        for location in table.locations
    ]
    kept, same = leave_out_unreadable(table, found, skip=False)
    assert kept is table
    assert same is found


def test_images_are_decoded_once(tmp_path: Path) -> None:
    table = write_folder(tmp_path / "data")
    cache = ImageCache(tmp_path / "cache", 10**8)
    found = scan(table, cache)
    images = PreparedImages(table.source, table.locations, SMALL, cache, found.sha256)
    expected = images.read([0, 5])
    for location in table.locations:
        (tmp_path / "data" / location).unlink()
    assert np.array_equal(images.read([0, 5]), expected)


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    table = write_folder(tmp_path, bad=(1,))
    told: list[tuple[str, int, int]] = []

    def note(stage: str, done: int, total: int, **figures: float) -> None:
        told.append((stage, done, total))

    scan_images(table, PreparedImages(table.source, table.locations, SMALL, NoCache()), note)
    assert told == [("decoding", done, 6) for done in range(1, 7)]


def test_unreadable_images_stop_with_the_list_of_all(tmp_path: Path) -> None:
    table = write_folder(tmp_path, bad=(1, 4))
    found = scan(table)
    names = [table.locations[row] for row in found.unreadable_rows]
    assert names == ["a/4.png", "b/1.png"]
    assert [error.location for error in found.errors] == names
    assert [found.sha256[row] for row in found.unreadable_rows] == ["", ""]
    with pytest.raises(
        UnreadableImagesError,
        match=r"(?s)2 image\(s\) cannot be read.*--skip-unreadable.*a/4\.png: .*b/1\.png: ",
    ):
        leave_out_unreadable(table, found, skip=False)


def test_unreadable_images_are_left_out_and_counted(tmp_path: Path) -> None:
    table = write_folder(tmp_path, bad=(1, 4))
    found = scan(table)
    kept, kept_scan = leave_out_unreadable(table, found, skip=True)
    assert kept.locations == ("a/0.png", "a/2.png", "b/3.png", "b/5.png")
    assert kept.labels.tolist() == [0, 0, 1, 1]
    assert len(kept_scan.errors) == 2
    assert kept_scan.unreadable_rows.tolist() == []
    assert kept_scan.sha256 == scan(kept).sha256


def test_nothing_readable_cannot_be_skipped(tmp_path: Path) -> None:
    table = write_folder(tmp_path, bad=tuple(range(6)))
    with pytest.raises(DataError, match=r"None of the 6 images of .* can be read; the first is a/"):
        leave_out_unreadable(table, scan(table), skip=True)


class FaultyStore:
    """Fails in a way that is no fault of an image."""

    def __init__(self) -> None:
        self.n_reads = 0

    def read_one(self, row: int) -> tuple[str, np.ndarray]:
        self.n_reads += 1
        if row == 0:
            raise MemoryError("no room")
        raise UnreadableImageError("x.png", "is bad")


def test_other_faults_are_not_taken_for_bad_images(tmp_path: Path) -> None:
    table = write_folder(tmp_path)
    store = FaultyStore()
    with pytest.raises(MemoryError, match="no room"):
        scan_images(table, store, n_threads=1)


def test_real_broken_dicom_is_named(shared_dir: Path, tmp_path: Path) -> None:
    dicom = shared_dir / "data/dicom"
    names = ["CT_small.dcm", "MR_small_RLE.dcm", "MR_truncated.dcm", "no_meta.dcm"]
    lines = [f"{dicom / name},{'ab'[number % 2]}" for number, name in enumerate(names)]
    (tmp_path / "m.csv").write_text("\n".join(["path,label", *lines]))
    found = scan(read_table(tmp_path / "m.csv"))
    assert [Path(error.location).name for error in found.errors] == names[2:]
