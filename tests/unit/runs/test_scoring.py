import csv
import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from medlora.data.source import ArraySource
from medlora.data.table import ImageTable
from medlora.runs.scoring import format_predictions, join_names, pick_mistakes, score_rows

PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6], [0.05, 0.95]])


def make_table(targets, *, multi_label=False, classes=("a", "b")):
    n_images = len(targets)
    return ImageTable(
        tuple(f"{row}.png" for row in range(n_images)),
        classes,
        np.array(targets, dtype=bool),
        multi_label,
        ("test",) * n_images,
        (None,) * n_images,
        ArraySource(b""),
        "t",
    )


TABLE = make_table([[1, 0], [0, 1], [0, 1], [1, 0], [1, 0]])
NOTHING_SEEN = np.zeros(5, dtype=bool)


class Reader:
    def read(self, rows):
        return torch.full((len(rows), 3, 4, 4), rows[0], dtype=torch.uint8)


def score_all(table=TABLE, probabilities=PROBABILITIES, seen=NOTHING_SEEN, rows=None):
    rows = np.arange(table.n_images) if rows is None else rows
    return score_rows(table, rows, probabilities, thresholds=(0.5, 0.5), seen=seen, n_resamples=20)


def test_the_score_is_that_of_the_chosen_rows() -> None:
    assert score_all().overall.overall["accuracy"].value == pytest.approx(0.4)
    rows = np.array([1, 0])
    scores = score_all(probabilities=PROBABILITIES[rows], seen=np.zeros(2, bool), rows=rows)
    assert scores.overall.overall["accuracy"].value == 1.0
    assert scores.unseen is None
    assert scores.warnings == ()


def test_images_that_training_has_seen_are_scored_apart() -> None:
    scores = score_all(seen=np.array([True, True, False, False, False]))
    assert scores.n_seen == 2
    assert scores.overall.n_images == 5
    assert scores.unseen is not None
    assert scores.unseen.n_images == 3
    assert scores.unseen.overall["accuracy"].value == 0.0
    assert scores.warnings[0].startswith("2 of the 5 images are in the data's training or")
    assert "stands beside it" in scores.warnings[0]
    assert scores.to_dict()["n_seen_in_training"] == 2


def test_where_all_were_seen_there_is_no_other_score() -> None:
    scores = score_all(seen=~NOTHING_SEEN)
    assert (scores.n_seen, scores.unseen) == (5, None)
    assert "there are no others" in scores.warnings[0]


def test_a_missing_class_and_a_constant_answer_are_told() -> None:
    table = make_table([[1, 0, 0], [0, 1, 0]], classes=("a", "b", "c"))
    scores = score_rows(
        table,
        np.arange(2),
        np.array([[0.6, 0.3, 0.1]] * 2),
        thresholds=(1 / 3,) * 3,
        seen=np.zeros(2, bool),
        n_resamples=5,
    )
    assert any("Every image is called 'a'" in warning for warning in scores.warnings)
    assert "No image of class 'c': its scores are undefined." in scores.warnings


def test_predictions_are_a_table_that_can_be_read() -> None:
    rows = list(csv.DictReader(io.StringIO(format_predictions(TABLE, score_all()).decode())))
    assert [row["path"] for row in rows] == list(TABLE.locations)
    assert [row["label"] for row in rows] == ["a", "b", "b", "a", "a"]
    assert [row["decision"] for row in rows] == ["a", "b", "a", "b", "b"]
    found = np.array([[float(row["p_a"]), float(row["p_b"])] for row in rows])
    np.testing.assert_allclose(found, PROBABILITIES)
    assert {row["split"] for row in rows} == {"test"}


def test_the_table_keeps_confident_answers_apart() -> None:
    sure = np.array([1 - 1e-12, 1 - 2e-12, 1e-9, 2e-9, 1 / 3])
    sure = np.stack([sure, 1 - sure], axis=1)
    text = format_predictions(TABLE, score_all(probabilities=sure)).decode()
    rows = csv.DictReader(io.StringIO(text))
    found = np.array([[float(row["p_a"]), float(row["p_b"])] for row in rows])
    np.testing.assert_array_equal(found, sure)


def test_predictions_of_odd_file_names_can_be_read() -> None:
    table = replace(TABLE, locations=("a\rb", "r\udcf6", "c,d", "e", "f"))
    text = format_predictions(table, score_all()).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["path"] for row in rows] == ["a\rb", "r\\udcf6", "c,d", "e", "f"]


def test_mistakes_come_worst_first_with_their_own_picture() -> None:
    mistakes = pick_mistakes(TABLE, score_all(), Reader())
    assert [mistake.location for mistake in mistakes] == ["4.png", "2.png", "3.png"]
    assert len(pick_mistakes(TABLE, score_all(), Reader(), n_mistakes=1)) == 1


def test_mistakes_of_labels_are_judged_by_the_wrong_label_alone() -> None:
    table = make_table([[1, 0], [0, 0], [1, 1]], multi_label=True)
    probabilities = np.array([[0.99, 0.6], [0.9, 0.1], [0.8, 0.7]])
    scores = score_all(table, probabilities, np.zeros(3, bool))
    assert [m.location for m in pick_mistakes(table, scores, Reader())] == ["1.png", "0.png"]


def test_names_are_joined() -> None:
    assert join_names(["a", "b", "c"], np.array([True, False, True])) == "a|c"
    assert join_names(["a"], np.array([False])) == ""
