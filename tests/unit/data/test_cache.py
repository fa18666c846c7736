import hashlib
import io
import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medlora.data.cache import ImageCache, NoCache, PreparedImages, cache_key, default_cache
from medlora.data.entry import pack_entry
from medlora.data.image import prepare_image
from medlora.errors import DataError, SettingsError, UnreadableImageError
from medlora.preprocessing import Preprocessing
from tests.unit.data.cache_user import entries_of, make_array, make_key, size_of, use_cache

PREPROCESSING = Preprocessing((12, 10), (0.5,) * 3, (0.5,) * 3)
SMALL = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
ENTRY_BYTES = len(pack_entry(SMALL))


@dataclass
class CountingSource:
    """Encoded images by location, and how often each was read."""

    images: dict[str, bytes]
    reads: list[str] = field(default_factory=list)

    def read_bytes(self, location: str) -> bytes:
        self.reads.append(location)
        if location not in self.images:
            raise UnreadableImageError(location, "there is none")
        return self.images[location]


def draw_images(n_images: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        f"{number}.png": rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
        for number in range(n_images)
    }


def encode(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def make_source(n_images: int) -> CountingSource:
    return CountingSource({name: encode(image) for name, image in draw_images(n_images).items()})


def test_what_was_put_is_got(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, 10_000)
    assert cache.get(make_key(0)) is None
    for number, array in enumerate((SMALL, SMALL[:0], np.uint8([7]), SMALL.transpose(2, 1, 0))):
        cache.put(make_key(number), array)
        got = ImageCache(tmp_path, 10_000).get(make_key(number))
        assert got is not None
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, array)
    assert all(path.parent.name == path.name[:2] for path in entries_of(tmp_path))


def test_putting_again_replaces(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, 2 * ENTRY_BYTES)
    for number in range(5):
        cache.put(make_key(0), SMALL + np.uint8(number))
        cache.put(make_key(1), SMALL)
    np.testing.assert_array_equal(cache.get(make_key(0)), SMALL + 4)
    np.testing.assert_array_equal(cache.get(make_key(1)), SMALL)


def test_no_cache_keeps_nothing() -> None:
    cache = NoCache()
    cache.put(make_key(0), SMALL)
    assert cache.get(make_key(0)) is None


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, 4 * ENTRY_BYTES)
    for number in range(4):
        cache.put(make_key(number), SMALL)
        path = tmp_path / make_key(number)[:2] / make_key(number)
        os.utime(path, (1000 + number, 1000 + number))
    assert cache.get(make_key(0)) is not None
    cache.put(make_key(4), SMALL)
    kept = [number for number in range(5) if cache.get(make_key(number)) is not None]
    assert kept == [0, 3, 4] or kept == [0, 2, 3, 4]
    assert size_of(tmp_path) <= 4 * ENTRY_BYTES


def test_the_bound_holds_at_every_moment(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, 5 * ENTRY_BYTES + 3)
    most = 0
    for number in range(40):
        cache.put(make_key(number), SMALL)
        assert cache.get(make_key(number)) is not None
        most = max(most, size_of(tmp_path))
    assert 4 * ENTRY_BYTES <= most <= 5 * ENTRY_BYTES + 3


def test_a_smaller_bound_is_kept_from_the_first_entry_on(tmp_path: Path) -> None:
    roomy = ImageCache(tmp_path, 10**6)
    for number in range(30):
        roomy.put(make_key(number), SMALL)
    ImageCache(tmp_path, 3 * ENTRY_BYTES).put(make_key(99), SMALL)
    assert size_of(tmp_path) <= 3 * ENTRY_BYTES


def test_an_array_larger_than_the_bound_is_not_kept(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, 2 * ENTRY_BYTES)
    cache.put(make_key(0), SMALL)
    cache.put(make_key(1), np.zeros(2 * ENTRY_BYTES, dtype=np.uint8))
    assert cache.get(make_key(1)) is None
    assert cache.get(make_key(0)) is not None


def test_a_damaged_entry_is_written_anew(tmp_path: Path) -> None:
    source = make_source(1)
    cache = ImageCache(tmp_path, 10**6)
    images = PreparedImages(source, ["0.png"], PREPROCESSING, cache)
    whole = images.read_one(0)[1]
    (entry,) = entries_of(tmp_path)
    entry.write_bytes(entry.read_bytes()[:-5])
    np.testing.assert_array_equal(images.read_one(0)[1], whole)
    assert source.reads == ["0.png", "0.png"]
    np.testing.assert_array_equal(images.read_one(0)[1], whole)
    assert source.reads == ["0.png", "0.png"]


def test_an_entry_of_another_shape_is_no_answer(tmp_path: Path) -> None:
    source = make_source(1)
    cache = ImageCache(tmp_path, 10**6)
    sha256 = hashlib.sha256(source.images["0.png"]).hexdigest()
    cache.put(cache_key(sha256, 0, PREPROCESSING), SMALL)
    images = PreparedImages(source, ["0.png"], PREPROCESSING, cache, [sha256])
    assert images.read([0]).shape == (1, 3, 12, 10)


@pytest.mark.parametrize("total", ["", "nonsense", "0", "99999999999"])
def test_a_wrong_note_of_the_size_is_put_right(tmp_path: Path, total: str) -> None:
    cache = ImageCache(tmp_path, 5 * ENTRY_BYTES)
    for number in range(5):
        cache.put(make_key(number), SMALL)
    (tmp_path / "total").write_text(total)
    # Each process counts once for itself, so a new one does not believe what it finds.
    cache = ImageCache(tmp_path, 5 * ENTRY_BYTES)
    for number in range(5, 20):
        cache.put(make_key(number), SMALL)
        assert size_of(tmp_path) <= 5 * ENTRY_BYTES
    assert len(entries_of(tmp_path)) >= 4


def test_what_killed_writers_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    (tmp_path / "ab").mkdir(parents=True)
    old, new = tmp_path / "ab" / "abcd.1234.part", tmp_path / "ab" / "abcd.5678.part"
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (1000, 1000))
    ImageCache(tmp_path, 10**6).put(make_key(0), SMALL)
    assert not old.exists()
    assert new.exists()


def test_a_folder_that_cannot_be_written_to_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where the folder should be")
    cache = ImageCache(tmp_path / "file" / "cache", 10**6)
    with pytest.warns(RuntimeWarning, match=r"cache .* cannot be written to .*MEDLORA_CACHE"):
        cache.put(make_key(0), SMALL)
    cache.put(make_key(1), SMALL)
    assert cache.get(make_key(0)) is None


def test_threads_share_a_cache(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, 20 * len(pack_entry(make_array(0))))

    def use(number: int) -> bool:
        key = make_key(number % 40)
        cache.put(key, make_array(number % 40))
        got = cache.get(key)
        return got is None or bool((got == make_array(number % 40)).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(300)))
    assert size_of(tmp_path) <= 20 * len(pack_entry(make_array(0)))
    assert int((tmp_path / "total").read_text()) == size_of(tmp_path)
    assert not list(tmp_path.glob("??/*.part"))


def test_two_processes_share_a_small_cache(tmp_path: Path) -> None:
    max_bytes = 12 * len(pack_entry(make_array(0)))
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    workers = [
        context.Process(target=use_cache, args=(tmp_path, max_bytes, seed, answers))
        for seed in (1, 2)
    ]
    for worker in workers:
        worker.start()
    results = [answers.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    for n_hits, n_wrong, largest in results:
        assert n_hits > 20
        assert n_wrong == 0
        assert 0 < largest <= max_bytes
    assert size_of(tmp_path) <= max_bytes
    assert int((tmp_path / "total").read_text()) == size_of(tmp_path)
    assert not list(tmp_path.glob("??/*.part"))


def test_reading_gives_the_prepared_images_in_order(tmp_path: Path) -> None:
    drawn, source = draw_images(6), make_source(6)
    cache = ImageCache(tmp_path, 10**6)
    images = PreparedImages(source, list(drawn), PREPROCESSING, cache, n_threads=3)
    rows = [4, 0, 5, 5, 2]
    expected = np.stack([prepare_image(drawn[f"{row}.png"], PREPROCESSING) for row in rows])
    batch = images.read(rows)
    assert batch.dtype == torch.uint8
    np.testing.assert_array_equal(batch.numpy(), expected)
    source.reads.clear()
    np.testing.assert_array_equal(images.read(rows).numpy(), expected)
    assert source.reads == []
    assert images.read([]).shape == (0, 3, 12, 10)


def test_known_digests_spare_the_files(tmp_path: Path) -> None:
    drawn, source = draw_images(3), make_source(3)
    cache = ImageCache(tmp_path, 10**6)
    first = PreparedImages(source, list(drawn), PREPROCESSING, cache)
    read = [first.read_one(row) for row in range(3)]
    sha256 = [digest for digest, _ in read]
    assert sha256 == [hashlib.sha256(content).hexdigest() for content in source.images.values()]
    gone = CountingSource({})
    later = PreparedImages(gone, list(drawn), PREPROCESSING, cache, sha256)
    np.testing.assert_array_equal(later.read([0, 1, 2]).numpy(), [image for _, image in read])
    assert gone.reads == []
    unknown = PreparedImages(gone, list(drawn), PREPROCESSING, cache, ["", *sha256[1:]])
    with pytest.raises(UnreadableImageError, match=r"^0\.png: there is none$"):
        unknown.read([1, 0])


def test_without_a_cache_every_read_decodes() -> None:
    source = make_source(1)
    images = PreparedImages(source, ["0.png"], PREPROCESSING, NoCache())
    assert torch.equal(images.read([0]), images.read([0]))
    assert source.reads == ["0.png", "0.png"]


def test_images_of_the_same_bytes_share_an_entry(tmp_path: Path) -> None:
    content = encode(draw_images(1)["0.png"])
    source = CountingSource({"a.png": content, "b.png": content})
    images = PreparedImages(source, ["a.png", "b.png"], PREPROCESSING, ImageCache(tmp_path, 10**6))
    images.read([0, 1])
    assert len(entries_of(tmp_path)) == 1


def test_frames_of_one_file_have_entries_of_their_own(tmp_path: Path) -> None:
    pages = [Image.new("L", (20, 20), value) for value in (50, 200)]
    stream = io.BytesIO()
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:])
    locations = ["a.tif#frame=0", "a.tif#frame=1"]
    source = CountingSource(dict.fromkeys(locations, stream.getvalue()))
    images = PreparedImages(source, locations, PREPROCESSING, ImageCache(tmp_path, 10**6))
    for _ in range(2):
        assert images.read([0, 1])[:, 0, 0, 0].tolist() == [50, 200]
    assert len(source.reads) == 2


def test_other_threads_go_on_while_one_image_cannot_be_read() -> None:
    source = make_source(2)
    images = PreparedImages(source, ["0.png", "gone.png", "1.png"], PREPROCESSING, NoCache())
    with pytest.raises(UnreadableImageError, match=r"^gone\.png: there is none$"):
        images.read([0, 1, 2])
    assert images.read([0, 2]).shape[0] == 2
    assert threading.active_count() < 20


def test_prepared_images_check_their_settings() -> None:
    with pytest.raises(DataError, match="one digest for each of the 2 images, not 1"):
        PreparedImages(make_source(2), ["0.png", "1.png"], PREPROCESSING, NoCache(), [""])
    with pytest.raises(SettingsError, match="n_threads must be at least 1, not 0"):
        PreparedImages(make_source(1), ["0.png"], PREPROCESSING, NoCache(), n_threads=0)


def test_the_key_depends_on_what_changes_pixels_and_on_nothing_else() -> None:
    key = cache_key("ab" * 32, 0, PREPROCESSING)
    assert len(key) == 64
    for same in ({"mean": (0.1, 0.2, 0.3)}, {"std": (0.1, 0.2, 0.3)}, {"interpolation": "bicubic"}):
        assert cache_key("ab" * 32, 0, replace(PREPROCESSING, **same)) == key
    border = replace(PREPROCESSING, crop_mode="border")
    others = [
        cache_key("cd" * 32, 0, PREPROCESSING),
        cache_key("ab" * 32, 1, PREPROCESSING),
        *(
            cache_key("ab" * 32, 0, preprocessing)
            for preprocessing in (
                replace(PREPROCESSING, size=(10, 12)),
                replace(PREPROCESSING, interpolation="bilinear"),
                replace(PREPROCESSING, crop_fraction=0.9),
                replace(PREPROCESSING, crop_mode="squash"),
                replace(PREPROCESSING, contrast="clahe"),
                replace(PREPROCESSING, steps=("crop",)),
                replace(PREPROCESSING, steps=("crop", "denoise")),
                border,
                replace(border, mean=(0.1, 0.2, 0.3)),
            )
        ),
    ]
    assert len({key, *others}) == 12


def test_the_default_cache_lies_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLORA_CACHE", str(tmp_path / "stated"))
    default_cache().put(make_key(0), SMALL)
    assert len(entries_of(tmp_path / "stated")) == 1
    default_cache(tmp_path / "given").put(make_key(0), SMALL)
    assert len(entries_of(tmp_path / "given")) == 1
    monkeypatch.delenv("MEDLORA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr("sys.platform", "linux")
    default_cache().put(make_key(0), SMALL)
    assert len(entries_of(tmp_path / "xdg" / "medlora")) == 1
