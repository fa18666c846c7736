from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medlora.data.augment import Augmentation
from medlora.data.cache import ImageCache, NoCache
from medlora.data.views import ImageViews
from medlora.errors import BackboneError
from medlora.evaluate.features import (
    BATCH_SIZE,
    FeatureLayout,
    FeatureReader,
    measure_share,
)
from medlora.evaluate.predict import predict_rows
from training_samples import PREPROCESSING, make_data, make_model

N_IMAGES = 40
NAMES = tuple(f"{number:02d}#0" for number in range(N_IMAGES))


class CountingReader:
    """Images in memory, and how many were asked for."""

    def __init__(self, images: Tensor) -> None:
        self.images = images
        self.n_read = 0

    def read(self, rows: Sequence[int]) -> Tensor:
        self.n_read += len(set(rows))
        return self.images[list(rows)]


def make_reader(cache, model=None, names=NAMES, **changes) -> FeatureReader:
    views = ImageViews(Augmentation(flip_horizontal=True, noise=0.3), 2, 0, names)
    arguments = {"backbone": ("tiny", "0"), "preprocessing": PREPROCESSING, "views": views}
    reader = CountingReader(make_data().images.images)
    return FeatureReader(
        model or make_model(method="linear"), reader, names, cache=cache, **(arguments | changes)
    )


def count_read(features: FeatureReader) -> int:
    return features._images.n_read


def test_features_are_the_models_own(tmp_path: Path) -> None:
    model = make_model(method="linear")
    features = make_reader(ImageCache(tmp_path, 10**6), model)
    data = make_data()
    plain = predict_rows(model, data.images, range(9), PREPROCESSING, multi_label=False)
    kept = predict_rows(
        model, data.images, range(9), PREPROCESSING, multi_label=False, features=features
    )
    assert np.array_equal(plain, kept)


def test_what_is_kept_is_not_computed_again(tmp_path: Path) -> None:
    first = make_reader(ImageCache(tmp_path, 10**6))
    expected = first.read([5, 3, 5])
    assert expected.shape == (3, 16) and torch.equal(expected[0], expected[2])
    first.fill(range(10), view=1)
    assert count_read(first) == 2 + 10
    # Another process, later.
    second = make_reader(ImageCache(tmp_path, 10**6))
    second.fill(range(10), view=1)
    assert torch.equal(second.read([5, 3, 5]), expected)
    assert torch.equal(second.read([4], view=1), first.read([4], view=1))
    assert count_read(second) == 0
    second.fill([4], view=0)
    assert count_read(second) == 1
    assert not torch.equal(second.read([4], view=0), second.read([4], view=1))


def test_features_do_not_depend_on_what_is_computed_with_them(tmp_path: Path) -> None:
    together = make_reader(ImageCache(tmp_path / "one", 10**6))
    together.fill(range(N_IMAGES))
    assert count_read(together) == N_IMAGES > BATCH_SIZE
    apart = make_reader(ImageCache(tmp_path / "other", 10**6))
    for row in (39, 0, 17):
        assert torch.equal(apart.read([row]), together.read([row]))


@pytest.mark.parametrize("fault", ["cut short", "turned bit", "another's", "gone"])
def test_damaged_features_are_computed_again(tmp_path: Path, fault: str) -> None:
    cache = ImageCache(tmp_path, 10**6)
    features = make_reader(cache)
    expected = features.read([0])
    (path,) = tmp_path.glob("??/*")
    content = path.read_bytes()
    if fault == "cut short":
        path.write_bytes(content[:-1])
    elif fault == "turned bit":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif fault == "another's":
        cache.put(path.name, np.zeros((3, 8, 8), np.uint8))
    else:
        path.unlink()
    again = make_reader(cache)
    assert torch.equal(again.read([0]), expected)
    assert count_read(again) == 1
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": ("tiny", "1")},
        {"backbone": ("small", "0")},
        {"names": ("other", *NAMES[1:])},
        {"model": make_model(method="linear", dtype=torch.bfloat16)},
        {"preprocessing": type(PREPROCESSING)((8, 8), (0.4,) * 3, (0.5,) * 3)},
    ],
)
def test_features_of_something_else_are_not_taken(tmp_path: Path, changes) -> None:
    cache = ImageCache(tmp_path, 10**6)
    make_reader(cache).read([0])
    other = make_reader(cache, **changes)
    other.read([0])
    assert count_read(other) == 1


@pytest.mark.parametrize(
    ("augmentation", "seed", "is_new"),
    [
        (Augmentation(flip_horizontal=True, noise=0.3), 0, False),
        (Augmentation(flip_horizontal=True, noise=0.2), 0, True),
        (Augmentation(flip_horizontal=True, noise=0.3), 1, True),
    ],
)
def test_views_are_kept_by_what_they_are_drawn_from(tmp_path, augmentation, seed, is_new) -> None:
    cache = ImageCache(tmp_path, 10**6)
    make_reader(cache).read([0], view=1)
    other = make_reader(cache, views=ImageViews(augmentation, 7, seed, NAMES))
    other.read([0], view=1)
    assert count_read(other) == is_new


def test_without_a_cache_features_are_right_all_the_same() -> None:
    with_none = make_reader(NoCache())
    assert with_none.read([1, 2]).shape == (2, 16)


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medlora.evaluate.features.HELD_BYTES", 3 * 16 * 4)
    features = make_reader(ImageCache(tmp_path, 10**6))
    expected = features.read(range(N_IMAGES))
    assert len(features._held) == 3
    assert torch.equal(features.read(range(N_IMAGES)), expected)
    assert count_read(features) == N_IMAGES


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_layout_gives_back_what_it_packed(dtype, channels_last) -> None:
    whole = torch.randn(2, 3, 4, 5).to(dtype)
    if channels_last:
        whole = whole.contiguous(memory_format=torch.channels_last)
    layout = FeatureLayout((3, 4, 5), dtype, channels_last)
    packed = [layout.pack(own) for own in whole]
    assert all(own.nbytes == layout.n_bytes for own in packed)
    back = layout.stack([layout.unpack(own) for own in packed])
    assert torch.equal(back, whole)
    assert back.stride() == whole.stride()


def test_a_frozen_network_lies_before_the_cut_as_a_whole() -> None:
    assert measure_share(make_model(method="linear"), PREPROCESSING) == 1


def test_a_model_without_a_frozen_part_has_no_features() -> None:
    with pytest.raises(BackboneError, match="No part of the network stays as it is"):
        make_reader(NoCache(), make_model(method="full"))
