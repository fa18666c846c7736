import numpy as np
import pytest
import torch

from medlora.train.objective import compute_loss, weigh_classes, weigh_images

RNG = np.random.default_rng(0)


def cross_entropy(logits, targets, smoothing, weights):
    """Image by image, the weighted mean as its definition says."""
    total = share = 0.0
    n_classes = logits.shape[1]
    for row, target in zip(logits, targets, strict=True):
        log_p = row - np.log(np.sum(np.exp(row)))
        label = int(np.argmax(target))
        own = -(1 - smoothing) * weights[label] * log_p[label]
        spread = -sum(weights[k] * log_p[k] for k in range(n_classes)) * smoothing / n_classes
        total += own + spread
        share += weights[label]
    return total / share


def binary_cross_entropy(logits, targets, smoothing, weights):
    terms = []
    for row, target in zip(logits, targets, strict=True):
        for k, value in enumerate(row):
            p = 1 / (1 + np.exp(-value))
            wanted = 1 - smoothing / 2 if target[k] else smoothing / 2
            terms.append(-weights[k] * wanted * np.log(p) - (1 - wanted) * np.log(1 - p))
    return np.mean(terms)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("multi_label", [False, True])
def test_the_loss_is_what_its_definition_gives(smoothing, weighted, multi_label) -> None:
    logits = RNG.normal(0, 2, (7, 3))
    if multi_label:
        targets = RNG.random((7, 3)) < 0.5
    else:
        targets = np.eye(3, dtype=bool)[[0, 1, 2, 0, 0, 1, 2]]
    weights = np.array([0.5, 1.0, 4.0]) if weighted else np.ones(3)
    slow = (binary_cross_entropy if multi_label else cross_entropy)(
        logits, targets, smoothing, weights
    )
    fast = compute_loss(
        torch.tensor(logits, dtype=torch.float32),
        torch.tensor(targets, dtype=torch.float32),
        multi_label=multi_label,
        label_smoothing=smoothing,
        class_weights=torch.tensor(weights, dtype=torch.float32) if weighted else None,
    )
    assert float(fast) == pytest.approx(slow, rel=1e-5)


def test_class_weights_make_every_class_count_the_same() -> None:
    targets = np.eye(3, dtype=bool)[[0] * 10 + [1] * 4 + [2]]
    weights = weigh_classes(targets, multi_label=False).numpy()
    counted = weights * targets.sum(axis=0)
    np.testing.assert_allclose(counted, counted[0], rtol=1e-6)
    assert (targets @ weights).mean() == pytest.approx(1, rel=1e-6)


def test_positive_weights_balance_each_label() -> None:
    targets = RNG.random((50, 4)) < np.array([0.1, 0.3, 0.5, 0.9])
    weights = weigh_classes(targets, multi_label=True).numpy()
    np.testing.assert_allclose(weights * targets.sum(0), (~targets).sum(0), rtol=1e-6)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_class_without_images_has_a_finite_weight(multi_label) -> None:
    targets = np.zeros((6, 2), dtype=bool)
    targets[:, 0] = True
    assert torch.isfinite(weigh_classes(targets, multi_label=multi_label)).all()


def test_drawing_weights_bring_every_class_equally_often() -> None:
    targets = np.eye(3, dtype=bool)[[0] * 10 + [1] * 4 + [2]]
    chances = weigh_images(targets, multi_label=False)
    np.testing.assert_allclose(chances @ targets / chances.sum(), 1 / 3)


def test_an_image_counts_for_its_rarest_label() -> None:
    targets = np.array([[1, 0], [1, 0], [1, 1], [0, 0]], dtype=bool)
    np.testing.assert_allclose(weigh_images(targets, multi_label=True), [1 / 3, 1 / 3, 1, 1 / 3])
