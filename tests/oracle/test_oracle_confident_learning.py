"""Confident learning against a slow implementation from the paper's definitions."""

import numpy as np
import pytest

from medlora.audit.labels import find_label_issues


def count_slowly(probabilities, labels):
    """Northcutt et al. 2021, equations 1 and 2: every image that is counted off the diagonal."""
    n_images, n_classes = len(probabilities), len(probabilities[0])
    thresholds = []
    for j in range(n_classes):
        own = [probabilities[i][j] for i in range(n_images) if labels[i] == j]
        thresholds.append(sum(own) / len(own) if own else float("inf"))
    counted = []
    for i in range(n_images):
        claimed = [j for j in range(n_classes) if probabilities[i][j] >= thresholds[j] - 1e-12]
        if not claimed:
            continue
        best = max(claimed, key=lambda j: (probabilities[i][j], -j))
        if best != labels[i]:
            margin = probabilities[i][labels[i]] - probabilities[i][best]
            counted.append((margin, i, int(labels[i]), best))
    return sorted(counted)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_the_same_images_in_the_same_order(seed, n_classes) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(n_classes, 0.5), 120)
    labels = np.array([rng.choice(n_classes, p=row) for row in probabilities])
    labels[:10] = rng.integers(0, n_classes, 10)
    found = find_label_issues(
        probabilities, np.eye(n_classes, dtype=bool)[labels], multi_label=False
    )
    slow = count_slowly(probabilities.tolist(), labels.tolist())
    others = [own for own in found if not own.is_confident]
    assert all(own.suggested == probabilities[own.row].argmax() for own in others)
    n_first = sum(own.is_suspicious for own in found)
    assert all(own.is_suspicious and own.margin < 0 for own in found[:n_first])
    found = sorted((own for own in found if own.is_confident), key=lambda own: own.margin)
    assert [(own.row, own.given, own.suggested) for own in found] == [own[1:] for own in slow]
    np.testing.assert_allclose([own.margin for own in found], [own[0] for own in slow])


@pytest.mark.parametrize("seed", range(4))
def test_several_labels_are_counted_one_by_one(seed) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.beta(0.5, 0.5, (80, 3))
    targets = rng.random((80, 3)) < probabilities
    found = {
        (own.row, own.given, own.has_label)
        for own in find_label_issues(probabilities, targets, multi_label=True)
        if own.is_confident
    }
    slow = set()
    for column in range(3):
        both = np.column_stack([1 - probabilities[:, column], probabilities[:, column]])
        labels = targets[:, column].astype(int)
        slow |= {(row, column, bool(given)) for _, row, given, _ in count_slowly(both, labels)}
    assert found == slow
