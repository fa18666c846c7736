import numpy as np
import pytest

from medlora.audit import neighbours
from medlora.audit.neighbours import (
    find_close_hashes,
    find_nearest,
    merge_pairs,
    pair_neighbours,
    shorten_features,
)


def count_bits(value) -> int:
    return bin(int(value)).count("1")


@pytest.fixture(params=[3, 256])
def small_blocks(request, monkeypatch) -> None:
    """Results do not depend on how the work is cut up."""
    monkeypatch.setattr(neighbours, "_ROWS", request.param)
    monkeypatch.setattr(neighbours, "_BLOCK_CELLS", 4 * request.param)


@pytest.mark.usefixtures("small_blocks")
def test_close_hashes_are_those_that_a_slow_search_finds() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, (23, 8), dtype=np.uint64)
    hashes[7, 5] = hashes[2, 0] ^ np.uint64(0b1011)
    hashes[20, 0] = hashes[3, 0]
    found = find_close_hashes(hashes, 24, n_most=100)
    slow = [
        (i, j)
        for i in range(23)
        for j in range(i + 1, 23)
        if min(count_bits(hashes[i, 0] ^ own) for own in hashes[j]) <= 24
    ]
    assert found.tolist() == sorted(map(list, slow))
    assert [2, 7] in found.tolist()
    assert [3, 20] in found.tolist()


def test_an_image_keeps_its_closest_pairs() -> None:
    hashes = np.zeros((5, 8), dtype=np.uint64)
    hashes[:, 1:] = np.uint64(2**64 - 1)
    hashes[:, 0] = [0, 0b111, 0b1, 0b11, 2**60 - 1]
    assert find_close_hashes(hashes, 3, n_most=2).tolist()[:2] == [[0, 2], [0, 3]]


@pytest.mark.usefixtures("small_blocks")
def test_nearest_images_are_those_that_a_slow_search_finds() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(31, 5)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    likeness = features @ features.T
    np.fill_diagonal(likeness, -np.inf)
    assert (find_nearest(features, 4) == np.argsort(-likeness, axis=1)[:, :4]).all()


def test_there_are_no_more_neighbours_than_images() -> None:
    assert find_nearest(np.eye(3, dtype=np.float32), 10).shape == (3, 2)


def test_shortened_features_keep_the_angles_of_standardised_ones() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(40, 6)) * [1, 10, 100, 1, 1, 0]
    short = shorten_features(features, 6)
    scaled = (features - features.mean(0)) / np.where(features.std(0) > 0, features.std(0), 1)
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    np.testing.assert_allclose(short @ short.T, scaled @ scaled.T, atol=1e-5)


def test_pairs_are_merged_once_and_in_order() -> None:
    both = merge_pairs([np.array([[4, 1], [1, 4], [2, 2]]), np.array([[0, 3]])])
    assert both.tolist() == [[0, 3], [1, 4]]
    assert pair_neighbours(np.array([[1], [0], [0]])).tolist() == [[0, 1], [0, 2]]
