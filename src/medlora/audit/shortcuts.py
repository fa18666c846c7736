"""Whether the label can be told from what has nothing to do with the diagnosis."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_MAX_DEPTH: Final = 3
_N_TREES: Final = 60
_FOREST_DEPTH: Final = 6


def select_varying(facts: Floats) -> list[int]:
    """Columns of facts (image, fact) that are not the same for every image."""
    return [number for number in range(facts.shape[1]) if np.ptp(facts[:, number]) > 0]


def predict_from_facts(
    facts: Floats,
    columns: Sequence[int],
    targets: npt.NDArray[np.bool_],
    folds: npt.NDArray[np.int64],
    *,
    seed: int = 0,
) -> Floats:
    """Scores of every class by a small model that knows nothing but some facts.

    It is one tree of depth 3 for a single fact, and a forest of 60 for several; each image is
    answered by a model that has not learnt from its fold.

    Args:
        facts: (image, fact).
        columns: The facts that it may use.
        targets: (image, class); each class is a question of its own where images have several.
        folds: (image,) fold of each image.
        seed: Of the trees.

    Returns:
        (image, class), in [0, 1].
    """
    known = facts[:, list(columns)]
    answers = np.zeros(targets.shape)
    multi_label = bool((targets.sum(axis=1) != 1).any())
    for fold in np.unique(folds):
        learnt, asked = folds != fold, folds == fold
        if multi_label:
            for column in range(targets.shape[1]):
                labels = targets[learnt, column].astype(np.int64)
                _answer(known, labels, learnt, asked, answers[:, column : column + 1], seed, [1])
        else:
            classes = list(range(targets.shape[1]))
            labels = targets[learnt].argmax(axis=1)
            _answer(known, labels, learnt, asked, answers, seed, classes)
    return answers


def _answer(
    known: Floats,
    labels: npt.NDArray[np.int64],
    learnt: npt.NDArray[np.bool_],
    asked: npt.NDArray[np.bool_],
    answers: Floats,
    seed: int,
    wanted: Sequence[int],
) -> None:
    """Write the probabilities of the wanted classes into some rows of `answers`."""
    model = _make_model(known.shape[1], int(learnt.sum()), seed)
    model.fit(known[learnt], labels)
    found = list(model.classes_)
    probabilities = model.predict_proba(known[asked])
    for place, number in enumerate(wanted):
        if number in found:
            answers[asked, place] = probabilities[:, found.index(number)]


def _make_model(n_facts: int, n_images: int, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.tree import DecisionTreeClassifier

    least = max(5, n_images // 100)
    if n_facts == 1:
        return DecisionTreeClassifier(
            max_depth=_MAX_DEPTH, min_samples_leaf=least, random_state=seed
        )
    return RandomForestClassifier(
        _N_TREES, max_depth=_FOREST_DEPTH, min_samples_leaf=least, random_state=seed
    )
