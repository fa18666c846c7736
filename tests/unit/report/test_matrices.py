"""Confusion matrices as drawn."""

from xml.etree import ElementTree

import numpy as np
import pytest

from medlora.report.matrices import N_WRITTEN, draw_confusion, draw_label_confusions


def read_texts(drawing: str) -> list[str]:
    return [
        "".join(each.itertext()).strip() for each in ElementTree.fromstring(drawing).iter("text")
    ]


def read_place(drawing: str, words: str) -> tuple[float, float]:
    """Where a text stands: across and down, in points."""
    for element in ElementTree.fromstring(drawing).iter("text"):
        if "".join(element.itertext()).strip() == words:
            if element.get("x"):
                return float(element.attrib["x"]), float(element.attrib["y"])
            numbers = element.attrib["transform"].split("(")[1].split(")")[0]
            across, down = numbers.replace(",", " ").split()[:2]
            return float(across), float(down)
    raise LookupError(words)


def test_counts_shares_and_totals_are_written() -> None:
    confusion = np.array([[30, 10], [7, 53]])
    texts = read_texts(draw_confusion(confusion, ["benign", "malignant"]))
    for words in ("30", "75%", "10", "25%", "7", "12%", "53", "88%", "40", "60"):
        assert words in texts
    assert texts.count("benign") == texts.count("malignant") == 2


def test_rows_are_the_truth_and_columns_the_decision() -> None:
    drawing = draw_confusion(np.array([[31, 12], [7, 53]]), ["a", "b"])
    places = {words: read_place(drawing, words) for words in ("31", "12", "7", "53")}
    assert places["31"][0] < places["12"][0] and places["31"][1] == places["12"][1]
    assert places["31"][1] < places["7"][1] and places["7"][0] == places["31"][0]
    assert places["53"] == (places["12"][0], places["7"][1])


def test_a_class_without_images_has_an_empty_row() -> None:
    texts = read_texts(draw_confusion(np.array([[4, 1], [0, 0]]), ["a", "b"]))
    assert texts.count("0") == 1
    assert not any("nan" in text for text in texts)


@pytest.mark.parametrize("n_classes", [N_WRITTEN, N_WRITTEN + 1])
def test_many_classes_are_shaded_only(n_classes: int) -> None:
    confusion = np.full((n_classes, n_classes), 3)
    texts = read_texts(draw_confusion(confusion, [f"class {n}" for n in range(n_classes)]))
    assert ("3" in texts) == (n_classes <= N_WRITTEN)
    assert texts.count(str(3 * n_classes)) == n_classes


def test_label_matrices_begin_with_what_was_found() -> None:
    confusions = np.array([[[81, 9], [3, 7]], [[90, 10], [0, 0]]])
    drawing = draw_label_confusions(confusions, ["mass", "nodule"])
    texts = read_texts(drawing)
    for words in ("mass", "nodule", "81", "90%", "9", "10%", "3", "30%", "7", "70%"):
        assert words in texts
    found, missed, wrong = (read_place(drawing, words) for words in ("7", "3", "9"))
    assert found[1] == missed[1] and found[0] < missed[0]
    assert found[0] == wrong[0] and found[1] < wrong[1]
