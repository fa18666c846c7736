"""Features in two dimensions."""

import sys
import types

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.preprocessing import StandardScaler

from medlora.data.source import FolderSource
from medlora.data.table import ImageTable
from medlora.errors import DataError, SettingsError
from medlora.runs.feature_map import check_method, map_features


def make_table(tmp_path, n_classes: int = 2, n_images: int = 30) -> ImageTable:
    labels = np.arange(n_images) % n_classes
    return ImageTable(
        locations=tuple(f"{number}.png" for number in range(n_images)),
        classes=tuple(f"class {number:02d}" for number in range(n_classes)),
        targets=np.eye(n_classes, dtype=bool)[labels],
        multi_label=False,
        splits=("train", "test", None) * (n_images // 3),
        patients=(None,) * n_images,
        source=FolderSource(tmp_path),
        name="data",
    )


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(30, 8)) @ np.diag([1, 50, 3, 1, 1, 9, 1, 1])


def test_components_are_those_of_the_correlations(features, tmp_path) -> None:
    """By the eigenvectors of the correlation matrix, an independent way to the same."""
    found = map_features(features, make_table(tmp_path), "pca")
    values, vectors = np.linalg.eigh(np.corrcoef(features.T))
    expected = StandardScaler().fit_transform(features) @ vectors[:, [-1, -2]]
    assert_allclose(np.abs(found.points), np.abs(expected), atol=1e-8)
    share = f"{values[-1] / values.sum():.0%}"
    assert found.axes[0] == f"component 1, {share} of the variance"
    assert found.splits == ("train", "test", "") * 10
    assert set(found.groups) == {"class 00", "class 01"}


def test_rare_classes_share_a_colour(features, tmp_path) -> None:
    found = map_features(features, make_table(tmp_path, n_classes=15), "pca")
    assert len(set(found.groups)) == 12
    assert "other" in found.groups


def test_umap_gets_components_and_the_seed(features, tmp_path, monkeypatch) -> None:
    seen: dict[str, object] = {}

    class Umap:
        def __init__(self, **settings: object) -> None:
            seen.update(settings)

        def fit_transform(self, points: np.ndarray) -> np.ndarray:
            seen["shape"] = points.shape
            return points[:, :2]

    module = types.ModuleType("umap")
    module.UMAP = Umap  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", module)
    assert check_method("umap") == "umap"
    found = map_features(features, make_table(tmp_path), "umap", seed=4)
    assert seen == {"n_neighbors": 15, "random_state": 4, "n_jobs": 1, "shape": (30, 8)}
    assert found.axes == ("UMAP 1", "UMAP 2")
    assert found.points.shape == (30, 2)


def test_what_cannot_be_drawn_is_said(features, tmp_path, monkeypatch) -> None:
    with pytest.raises(SettingsError, match="--method must be pca or umap, not 'tsne'"):
        check_method("tsne")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(SettingsError, match=r"umap-learn.*'medlora\[umap\]'"):
        check_method("umap")
    few = make_table(tmp_path, n_images=3)
    with pytest.raises(DataError, match="at least 4 images, not 3"):
        map_features(features[:3], few, "pca")
