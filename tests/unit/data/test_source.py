import io
from pathlib import Path

import numpy as np
import pytest

from medlora.data.source import ArraySource, FolderSource, ImageSource, split_frame
from medlora.errors import UnreadableImageError


@pytest.fixture
def medmnist_bytes() -> bytes:
    """Three grey training images and two of the test split, each filled with its number."""
    train = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 5), dtype=np.uint8)
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        train_images=train,
        train_labels=np.zeros((3, 1)),
        test_images=train[:2] + 100,
        odd_images=np.zeros(3),
    )
    return stream.getvalue()


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("a/b.dcm#frame=0", ("a/b.dcm", 0)),
        ("a/b.dcm#frame=012", ("a/b.dcm", 12)),
        ("a#frame=1/b.dcm", ("a#frame=1/b.dcm", None)),
        ("b.dcm#frame=", ("b.dcm#frame=", None)),
        ("b.dcm#frame=-1", ("b.dcm#frame=-1", None)),
        ("b.dcm#frame=2#frame=3", ("b.dcm#frame=2", 3)),
    ],
)
def test_split_frame(location: str, expected: tuple[str, int | None]) -> None:
    assert split_frame(location) == expected


def test_folder_source_reads_relative_absolute_and_framed_locations(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "grün.png").write_bytes(b"content")
    source = FolderSource(tmp_path / "images")
    assert isinstance(source, ImageSource)
    assert source.read_bytes("grün.png") == b"content"
    assert source.read_bytes("grün.png#frame=4") == b"content"
    assert FolderSource(Path("/nowhere")).read_bytes(f"{tmp_path}/images/grün.png") == b"content"


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("missing.png", r"^missing\.png: cannot be opened \(No such file or directory\)$"),
        ("folder", r"^folder: cannot be opened \(Is a directory\)$"),
        ("empty.png", r"^empty\.png: the file is empty$"),
        ("nul\0.png", r"cannot be opened \(embedded null byte\)$"),
    ],
)
def test_folder_source_names_what_it_cannot_read(
    tmp_path: Path, location: str, reason: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.png").touch()
    with pytest.raises(UnreadableImageError, match=reason) as caught:
        FolderSource(tmp_path).read_bytes(location)
    assert caught.value.location == location


@pytest.mark.parametrize("as_file", [True, False], ids=["path", "bytes"])
def test_array_source_gives_one_image(
    tmp_path: Path, medmnist_bytes: bytes, *, as_file: bool
) -> None:
    (tmp_path / "some.npz").write_bytes(medmnist_bytes)
    source = ArraySource(tmp_path / "some.npz" if as_file else medmnist_bytes)
    assert isinstance(source, ImageSource)
    for location, value in (("train/2", 2), ("test/1", 101), ("train/0", 0)):
        image = np.load(io.BytesIO(source.read_bytes(location)), allow_pickle=False)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, np.full((4, 5), value))


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("train/3", r"^train/3: the file holds images train/0 to train/2$"),
        ("train/-1", r"^train/-1: the file holds images train/0"),
        ("train/²", r"^train/²: the file holds images train/0"),
        ("train", r"^train: the file holds images train/0"),
        ("val/0", r"^val/0: the file holds no array val_images$"),
        ("odd/0", r"odd_images has shape \(3,\), not \(image, height, width\)$"),
    ],
)
def test_array_source_names_what_it_lacks(
    medmnist_bytes: bytes, location: str, reason: str
) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        ArraySource(medmnist_bytes).read_bytes(location)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 broken archive"])
def test_array_source_refuses_what_is_no_archive(content: bytes) -> None:
    with pytest.raises(UnreadableImageError, match="its array file cannot be read"):
        ArraySource(content).read_bytes("train/0")


def test_array_source_never_unpickles() -> None:
    stream = io.BytesIO()
    np.savez(stream, train_images=np.array([[["text"]]], dtype=object))
    with pytest.raises(UnreadableImageError, match="allow_pickle=False"):
        ArraySource(stream.getvalue()).read_bytes("train/0")


def test_array_source_refuses_a_damaged_archive(medmnist_bytes: bytes) -> None:
    damaged = bytearray(medmnist_bytes)
    damaged[60:90] = bytes(30)
    with pytest.raises(UnreadableImageError, match="its array file cannot be read"):
        ArraySource(bytes(damaged)).read_bytes("train/0")


def test_array_source_reads_medmnist(shared_dir: Path) -> None:
    source = ArraySource(shared_dir / "data" / "medmnist" / "breastmnist.npz")
    image = np.load(io.BytesIO(source.read_bytes("test/155")), allow_pickle=False)
    assert image.shape == (28, 28)
    with pytest.raises(UnreadableImageError, match="test/0 to test/155"):
        source.read_bytes("test/156")
