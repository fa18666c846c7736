"""Learning curves and the reliability diagram."""

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from medlora.report.figures import (
    bound_share,
    collect_series,
    draw_learning_curves,
    draw_reliability,
    spread_labels,
)
from medlora.report.wording import Interval


def read_texts(drawing: str) -> list[str]:
    return [
        "".join(each.itertext()).strip() for each in ElementTree.fromstring(drawing).iter("text")
    ]


def make_history(n_epochs: int) -> list[dict[str, float]]:
    return [
        {"epoch": epoch, "train_loss": 2 / epoch, "val_loss": 3 / epoch, "val_f1": 1 - 0.5 / epoch}
        for epoch in range(1, n_epochs + 1)
    ]


def test_series_have_names_gaps_and_no_empty_ones() -> None:
    history = [
        {"epoch": 1, "train_loss": 1.0, "val_loss": None, "val_auroc": float("nan")},
        {"epoch": 2, "val_loss": 0.5, "val_auroc": None},
    ]
    series = collect_series(history, ("train_loss", "val_loss", "val_auroc"))
    assert list(series) == ["training", "validation"]
    np.testing.assert_array_equal(series["training"], [1.0, np.nan])
    np.testing.assert_array_equal(series["validation"], [np.nan, 0.5])


def test_last_values_and_the_kept_epoch_are_written() -> None:
    texts = read_texts(draw_learning_curves(make_history(4), best_epoch=3))
    assert texts.count("epoch 3, kept") == 2
    for words in ("training", "0.500", "validation", "0.750", "F1 score", "0.875"):
        assert words in texts


@pytest.mark.parametrize("best_epoch", [None, 9])
def test_an_unknown_epoch_is_not_marked(best_epoch: int | None) -> None:
    assert "kept" not in draw_learning_curves(make_history(4), best_epoch)


def test_a_single_epoch_and_losses_alone_can_be_drawn() -> None:
    assert "1" in read_texts(draw_learning_curves(make_history(1), 1))
    drawing = draw_learning_curves(
        [{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.4}]
    )
    assert "validation measure" not in read_texts(drawing)


@given(
    st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=8),
    st.sampled_from([0.05, 0.15]),
)
def test_labels_are_spread_without_changing_their_order(places: list[float], gap: float) -> None:
    spread = spread_labels(places, gap)
    order = sorted(range(len(places)), key=lambda index: places[index])
    steps = np.diff([spread[index] for index in order])
    assert (steps >= gap - 1e-9).all()
    assert sum(spread) == pytest.approx(sum(places))


@pytest.mark.parametrize(("n_right", "n_all"), [(0, 1), (1, 1), (3, 10), (97, 100), (500, 1000)])
def test_shares_are_bounded_as_scipy_bounds_them(n_right: int, n_all: int) -> None:
    low, high = bound_share(np.array([n_right / n_all]), np.array([n_all]))
    expected = binomtest(n_right, n_all).proportion_ci(0.95, method="wilson")
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_diagram_counts_every_image_and_states_its_error() -> None:
    generator = np.random.default_rng(1)
    confidence = generator.uniform(0.5, 1, 250)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    labels = (generator.random(250) > confidence).astype(int)
    targets = np.eye(2, dtype=bool)[labels]
    error, brier = Interval(0.034, 0.021, 0.071), Interval(0.2, None, None)
    texts = read_texts(draw_reliability(probabilities, targets, False, error, brier))
    assert "0.034 (0.021–0.071)" in texts and "0.200" in texts
    ticks = {"0", "1"}
    counts = [int(text) for text in texts if text.isdigit() and text not in ticks]
    assert sum(counts) == 250


def test_a_multi_label_diagram_speaks_of_answers() -> None:
    probabilities = np.array([[0.9, 0.2], [0.4, 0.6]])
    targets = np.array([[True, False], [False, False]])
    missing = Interval(None, None, None)
    texts = read_texts(draw_reliability(probabilities, targets, True, missing, missing))
    assert "answers" in texts and "predicted probability" in texts
    assert texts.count("undefined") == 2
