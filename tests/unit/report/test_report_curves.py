"""The drawn ROC and precision-recall curves."""

from xml.etree import ElementTree

import numpy as np
import pytest

from medlora.evaluate.curves import precision_recall_curve, roc_curve
from medlora.report.curves import (
    N_PANELS,
    Curve,
    draw_curves,
    select_lowest,
    summarise_area,
    thin_curve,
    trace_curve,
)
from medlora.report.wording import Interval

UNKNOWN = Interval(None, None, None)


def read_texts(drawing: str) -> list[str]:
    return [
        "".join(each.itertext()).strip() for each in ElementTree.fromstring(drawing).iter("text")
    ]


def make_curves(n_classes: int) -> list[Curve]:
    line = np.array([0.0, 0.5, 1.0])
    return [
        Curve(
            f"class {index}", line, line, Interval(0.5 + index / 200, 0.4, 0.625), (0.5, 0.5), 0.5
        )
        for index in range(n_classes)
    ]


@pytest.mark.parametrize("kind", ["roc", "precision_recall"])
@pytest.mark.parametrize("seed", range(5))
def test_thinning_keeps_the_curve(kind: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    positive = generator.random(3000) < 0.2
    scores = 1 / (1 + np.exp(-generator.normal(size=3000) - positive))
    if kind == "roc":
        x, y = roc_curve(scores, positive)
    else:
        y, x = precision_recall_curve(scores, positive)
    thin_x, thin_y = thin_curve(x, y)
    assert len(thin_x) < len(x) / 2
    assert (thin_x[0], thin_y[0], thin_x[-1], thin_y[-1]) == pytest.approx(
        (x[0], y[0], x[-1], y[-1]), abs=0.0011
    )
    # Every point of the whole curve lies within the grid's width of the thinned polyline.
    starts, steps = np.stack([thin_x, thin_y])[:, :-1], np.diff(np.stack([thin_x, thin_y]))
    offsets = np.stack([x, y])[:, :, None] - starts[:, None]
    along = np.clip((offsets * steps[:, None]).sum(0) / (steps**2).sum(0), 0, 1)
    distances = np.hypot(*(offsets - along * steps[:, None])).min(axis=1)
    assert distances.max() <= 0.002


def test_thinning_leaves_short_curves_whole() -> None:
    x, y = thin_curve(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert (x.tolist(), y.tolist()) == ([0, 1], [0, 1])
    x, y = thin_curve(np.array([1.0, 1.0, 1.0]), np.array([1.0, 1.0, 1.0]))
    assert (x.tolist(), y.tolist()) == ([1], [1])


def test_precision_stands_upright_and_recall_lies() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    positive = np.array([True, False, False, True])
    curve = trace_curve("precision_recall", "a", scores, positive, UNKNOWN, (0.5, 1.0))
    assert curve.chance == 0.5
    assert (curve.x[0], curve.y[0]) == (1.0, 0.5)
    assert (curve.x[-1], curve.y[-1]) == (0.0, 1.0)
    assert curve.point == (0.5, 1.0)


@pytest.mark.parametrize(
    ("kind", "positive"),
    [("roc", [True, True]), ("roc", [False, False]), ("precision_recall", [False, False])],
)
def test_a_curve_without_both_kinds_of_images_is_empty(kind: str, positive: list[bool]) -> None:
    scores = np.array([0.2, 0.8])
    curve = trace_curve(kind, "a", scores, np.array(positive), UNKNOWN, (None, 1.0))
    assert curve.x.size == 0
    assert curve.point is None
    assert draw_curves(kind, [curve, *make_curves(1)]).count("undefined") >= 2


@pytest.mark.parametrize("kind", ["roc", "precision_recall"])
@pytest.mark.parametrize("n_classes", [2, 7])
def test_every_class_stands_there_with_its_area(kind: str, n_classes: int) -> None:
    curves = make_curves(n_classes)
    texts = read_texts(draw_curves(kind, curves))
    for curve in curves:
        assert curve.name in texts
        assert f"{curve.area.value:.3f} (0.40–0.62)" in texts


def test_without_intervals_none_is_promised() -> None:
    line = np.array([0.0, 1.0])
    curve = Curve("a", line, line, Interval(0.75, None, None), None, 0.5)
    texts = read_texts(draw_curves("roc", [curve]))
    assert "AUROC" in texts and "0.750" in texts
    assert summarise_area(UNKNOWN) == "undefined"


def test_of_many_classes_the_weakest_are_drawn_in_their_order() -> None:
    curves = make_curves(N_PANELS + 3)
    shuffled = [*curves[5:], *curves[:5]]
    shown = select_lowest(shuffled)
    assert {curve.name for curve in shown} == {curve.name for curve in curves[:N_PANELS]}
    assert shown == [curve for curve in shuffled if curve in shown]
