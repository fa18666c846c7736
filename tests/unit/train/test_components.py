"""The choice of components, and what is odd about labels."""

import numpy as np
import pytest

from medlora.errors import TrainingError
from medlora.train.components import choose_components, fit_head

FOLDS = np.arange(60) % 3


def draw_features(n_informative: int) -> tuple[np.ndarray, np.ndarray]:
    """Features whose first directions tell two classes apart; the others are noise."""
    rng = np.random.default_rng(n_informative)
    targets = np.eye(2, dtype=bool)[np.arange(60) // 30]
    features = rng.normal(size=(60, 24))
    features[:, :n_informative] += 3 * targets[:, :1]
    return features, targets


def test_few_components_are_enough_where_one_direction_tells() -> None:
    features, targets = draw_features(20)
    told: list[tuple[int, int]] = []
    choice = choose_components(
        features,
        targets,
        FOLDS,
        multi_label=False,
        select_by="auroc",
        progress=lambda stage, done, total: told.append((done, total)),
    )
    assert choice is not None
    assert choice.n_components == 1
    assert list(choice.scores) == [1, 2, 4, 8, 16]
    assert told == [(number, 15) for number in range(1, 16)]


def test_the_measure_decides() -> None:
    """Two weak directions beside twenty strong ones of noise need many components."""
    features, targets = draw_features(2)
    rng = np.random.default_rng(9)
    features[:, 2:] = rng.normal(size=(60, 1)) + 0.3 * features[:, 2:]
    choice = choose_components(features, targets, FOLDS, multi_label=False, select_by="loss")
    assert choice is not None
    assert choice.n_components > 1
    assert choice.scores[choice.n_components] == min(choice.scores.values())


def test_a_left_out_fold_takes_no_part() -> None:
    """Labels that are drawn anew in each fold cannot be foretold by the others."""
    rng = np.random.default_rng(2)
    features = rng.normal(size=(60, 40))
    targets = np.eye(2, dtype=bool)[rng.integers(0, 2, 60)]
    choice = choose_components(features, targets, FOLDS, multi_label=False, select_by="auroc")
    assert choice is not None
    assert max(choice.scores.values()) < 0.75


def test_it_stops_when_asked() -> None:
    features, targets = draw_features(2)
    assert (
        choose_components(
            features,
            targets,
            FOLDS,
            multi_label=False,
            select_by="auroc",
            should_stop=lambda: True,
        )
        is None
    )


def test_one_image_besides_the_fold_is_too_few() -> None:
    features, targets = draw_features(2)
    with pytest.raises(TrainingError, match="2 training images are too few"):
        choose_components(
            features[[0, 59]],
            targets[[0, 59]],
            np.array([0, 1]),
            multi_label=False,
            select_by="auroc",
        )


def test_a_class_without_images_gets_no_chance() -> None:
    features, targets = draw_features(2)
    wide = np.concatenate([targets[:, :1], np.zeros((60, 1), dtype=bool), targets[:, 1:]], axis=1)
    head = fit_head(features, wide, 4, multi_label=False)
    logits = head.answer(features)
    assert (logits.argmax(axis=1) != 1).all()
    two = fit_head(features, targets, 4, multi_label=False).answer(features)
    np.testing.assert_allclose(logits[:, [0, 2]], two)


def test_a_label_that_all_or_none_have_is_certain() -> None:
    features, targets = draw_features(2)
    odd = np.stack([targets[:, 0], np.ones(60, dtype=bool), np.zeros(60, dtype=bool)], axis=1)
    logits = fit_head(features, odd, 4, multi_label=True).answer(features)
    assert (logits[:, 1] > 10).all()
    assert (logits[:, 2] < -10).all()
    assert logits[:, 0].std() > 1
