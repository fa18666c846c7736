"""The folded head of `pca-logistic` against scikit-learn's own pipeline."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medlora.train.components import fit_head


def draw_features(n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of unlike scales and means, one of them constant, and labels that follow them."""
    rng = np.random.default_rng(n_classes)
    features = rng.normal(size=(120, 30)) * np.geomspace(0.01, 50, 30) + np.linspace(-9, 40, 30)
    features[:, 7] = 3.25
    direction = rng.normal(size=(30, n_classes)) / features.std(axis=0).clip(1e-6)[:, None]
    scores = (features - features.mean(axis=0)) @ direction + rng.normal(size=(120, n_classes))
    return features, scores


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize(("n_classes", "n_components"), [(2, 1), (2, 16), (4, 8), (4, 29)])
def test_one_class_each(n_classes: int, n_components: int, class_weights) -> None:
    features, scores = draw_features(n_classes)
    labels = scores.argmax(axis=1)
    weight = None if class_weights == "none" else class_weights
    pipeline = make_pipeline(
        StandardScaler(),
        PCA(n_components, random_state=0),
        LogisticRegression(class_weight=weight, max_iter=5000),
    ).fit(features, labels)
    head = fit_head(
        features,
        np.eye(n_classes, dtype=bool)[labels],
        n_components,
        multi_label=False,
        class_weights=class_weights,
    )
    answers = torch.from_numpy(head.answer(features)).softmax(dim=1).numpy()
    expected = pipeline.predict_proba(features)
    assert expected.std() > 0.1
    np.testing.assert_allclose(answers, expected, atol=1e-7)


def test_any_number_of_classes() -> None:
    features, scores = draw_features(3)
    targets = scores > 0
    pipeline = make_pipeline(
        StandardScaler(),
        PCA(8, random_state=0),
        OneVsRestClassifier(LogisticRegression(max_iter=5000)),
    ).fit(features, targets.astype(int))
    head = fit_head(features, targets, 8, multi_label=True)
    answers = 1 / (1 + np.exp(-head.answer(features)))
    np.testing.assert_allclose(answers, pipeline.predict_proba(features), atol=1e-5)
