"""Labels that look wrong: answers to images that a model has not learnt from, against the labels.

The answers are a logistic regression's on features, each from a fold that the image is not in.
Which disagreements count is decided by confident learning.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medlora.progress import Progress, silent

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

N_FOLDS: Final = 5
_MAX_ITERATIONS: Final = 500


@dataclass(frozen=True)
class LabelIssue:
    """An image whose label looks wrong.

    Attributes:
        row: Row of the table.
        given: Number of its class; of a multi-label table the class in question.
        suggested: Number of the class that the answers point to; of a multi-label table the same
            class, which the image then should have or not have.
        margin: Probability of the given label less that of the other, in [-1, 1]: the lower, the
            likelier is the label wrong.
        probability: Of what is suggested, in [0, 1].
        is_confident: Whether confident learning counts it; the others are mere disagreements.
        has_label: Whether the image has the class `given`: False only in multi-label tables.
    """

    row: int
    given: int
    suggested: int
    margin: float
    probability: float
    is_confident: bool
    has_label: bool = True

    @property
    def is_suspicious(self) -> bool:
        """Whether it is counted, and what is suggested is also likelier than the label.

        Of a rare class the mean probability is low, and reached by many images without it.
        """
        return self.is_confident and self.margin < 0


def predict_out_of_fold(
    features: npt.NDArray[Any],
    targets: Bools,
    folds: npt.NDArray[np.int64],
    *,
    multi_label: bool,
    progress: Progress = silent,
) -> Floats:
    """Probabilities for every image by a model that has not learnt from its fold.

    Args:
        features: (image, feature).
        targets: (image, class).
        folds: (image,) fold of each image; images of one group lie in one fold.
        multi_label: Whether an image may have several classes.
        progress: Told after every fold.

    Returns:
        (image, class), in [0, 1]; rows of a single-label table sum to 1. A class that is missing
        in a fold's training images gets the probability 0 in that fold.

    Reference:
        scikit-learn's StandardScaler and LogisticRegression.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    answers = np.zeros(targets.shape)
    numbers = np.unique(folds)
    for done, fold in enumerate(numbers):
        learnt, asked = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        scaler = StandardScaler().fit(np.asarray(features[learnt], dtype=np.float64))
        known, unknown = (
            scaler.transform(np.asarray(features[rows], dtype=np.float64))
            for rows in (learnt, asked)
        )
        # Stronger than the usual penalty: there may be fewer images than features.
        model = LogisticRegression(C=0.1, max_iter=_MAX_ITERATIONS)
        columns = range(targets.shape[1]) if multi_label else (None,)
        for column in columns:
            labels = targets[learnt, column] if column is not None else targets[learnt].argmax(1)
            found = np.unique(labels)
            if len(found) == 1:
                own = np.ones((len(asked), 1))
            else:
                own = model.fit(known, labels).predict_proba(unknown)
            if column is None:
                answers[np.ix_(asked, found.astype(np.int64))] = own
            elif True in found:
                answers[asked, column] = own[:, -1]
        progress("out-of-fold answers", done + 1, len(numbers))
    return answers


def find_label_issues(
    probabilities: Floats, targets: Bools, *, multi_label: bool
) -> tuple[LabelIssue, ...]:
    """Images whose answer is another than their label, most suspicious first.

    Confident learning counts some of them: a class is claimed for an image where its probability
    reaches the mean that it has among the images that bear the class, and an image counts where
    the most probable of the claimed classes is not its own. Every class of a multi-label table is
    a question of its own.

    Args:
        probabilities: (image, class), out of fold, in [0, 1].
        targets: (image, class); a single-label table's rows have one True each.
        multi_label: Whether an image may have several classes.

    Returns:
        Those that are counted and likelier than the label first, then the others; within both by
        normalised margin.

    Reference:
        Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels,
        JAIR 2021, section 3.1 (the off-diagonal of the confident joint).
    """
    issues = []
    columns = range(targets.shape[1]) if multi_label else (None,)
    for column in columns:
        answers, labels = probabilities, targets.argmax(axis=1)
        if column is not None:
            answers = np.column_stack([1 - probabilities[:, column], probabilities[:, column]])
            labels = targets[:, column].astype(np.int64)
        for row, other, is_confident in _compare(answers, labels):
            given = int(labels[row])
            issues.append(
                LabelIssue(
                    row,
                    given if column is None else column,
                    other if column is None else column,
                    float(answers[row, given] - answers[row, other]),
                    float(answers[row, other]),
                    is_confident,
                    has_label=column is None or bool(given),
                )
            )
    return tuple(
        sorted(issues, key=lambda own: (not own.is_suspicious, own.margin, own.row, own.given))
    )


def _compare(probabilities: Floats, labels: npt.NDArray[np.int64]) -> list[tuple[int, int, bool]]:
    """Rows whose answer is not their label, the answer, and whether confident learning counts it.

    What is counted lies off the diagonal of the confident joint; its class is that it is counted
    in, even where another one is likelier.
    """
    n_classes = probabilities.shape[1]
    thresholds = np.array(
        [
            probabilities[labels == number, number].mean() if (labels == number).any() else np.inf
            for number in range(n_classes)
        ]
    )
    # A class may be reached by rounding alone.
    reached = probabilities >= thresholds - 1e-12
    claimed = np.where(reached, probabilities, -1).argmax(axis=1)
    counted = reached.any(axis=1) & (claimed != labels)
    likeliest = probabilities.argmax(axis=1)
    answers = np.where(counted, claimed, likeliest)
    return [
        (int(row), int(answers[row]), bool(counted[row]))
        for row in np.flatnonzero(counted | (likeliest != labels))
    ]
