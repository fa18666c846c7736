import numpy as np
import pytest
from sklearn import metrics

from medlora.errors import UndefinedMetricError
from medlora.train.settings import SELECTION_MEASURES
from medlora.train.validation import measure_validation, rank_epoch

RNG = np.random.default_rng(4)


def test_single_label_figures_are_those_of_scikit_learn() -> None:
    probabilities = RNG.dirichlet(np.ones(3), 40)
    labels = RNG.integers(0, 3, 40)
    figures = measure_validation(probabilities, np.eye(3, dtype=bool)[labels], multi_label=False)
    decided = probabilities.argmax(1)
    assert figures == pytest.approx(
        {
            "loss": metrics.log_loss(labels, probabilities),
            "accuracy": metrics.accuracy_score(labels, decided),
            "auroc": metrics.roc_auc_score(labels, probabilities, multi_class="ovr"),
            "average_precision": metrics.average_precision_score(
                np.eye(3)[labels], probabilities, average="macro"
            ),
            "f1": metrics.f1_score(labels, decided, average="macro"),
            "balanced_accuracy": metrics.balanced_accuracy_score(labels, decided),
        }
    )
    assert figures.keys() == SELECTION_MEASURES.keys()


def test_multi_label_figures_are_those_of_scikit_learn() -> None:
    probabilities = RNG.random((40, 3))
    targets = RNG.random((40, 3)) < 0.4
    figures = measure_validation(probabilities, targets, multi_label=True)
    decided = probabilities >= 0.5
    assert figures["loss"] == pytest.approx(
        metrics.log_loss(targets.ravel(), probabilities.ravel())
    )
    assert figures["accuracy"] == pytest.approx((decided == targets).mean())
    assert figures["auroc"] == pytest.approx(metrics.roc_auc_score(targets, probabilities))
    assert figures["f1"] == pytest.approx(metrics.f1_score(targets, decided, average="macro"))


def test_a_class_without_images_is_left_out_of_the_mean() -> None:
    probabilities = RNG.dirichlet(np.ones(3), 20)
    labels = RNG.integers(0, 2, 20)
    figures = measure_validation(probabilities, np.eye(3, dtype=bool)[labels], multi_label=False)
    by_class = [metrics.roc_auc_score(labels == k, probabilities[:, k]) for k in (0, 1)]
    assert figures["auroc"] == pytest.approx(np.mean(by_class))


def test_a_certain_and_wrong_answer_has_a_finite_loss() -> None:
    figures = measure_validation(
        np.array([[1.0, 0.0], [0.0, 1.0]]),
        np.array([[False, True], [True, False]]),
        multi_label=False,
    )
    assert figures["loss"] == pytest.approx(-np.log(1e-12))


def test_epochs_are_ranked_by_the_measure_then_by_the_loss() -> None:
    better = rank_epoch({"auroc": 0.9, "loss": 2.0}, "auroc")
    assert better > rank_epoch({"auroc": 0.8, "loss": 0.1}, "auroc")
    assert better < rank_epoch({"auroc": 0.9, "loss": 1.9}, "auroc")
    assert rank_epoch({"loss": 0.1}, "loss") > rank_epoch({"loss": 0.2}, "loss")


def test_a_measure_without_value_cannot_choose() -> None:
    figures = measure_validation(
        np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([[True, False]] * 2), multi_label=False
    )
    assert "auroc" not in figures
    with pytest.raises(UndefinedMetricError, match=r"auroc has no value .* another select_by"):
        rank_epoch(figures, "auroc")
