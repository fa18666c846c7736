"""The picture of points."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medlora.report.feature_map import MAP_INCHES, choose_colours, paint_map


def test_every_image_is_a_point_of_its_class_and_split() -> None:
    figure = Figure(figsize=MAP_INCHES, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    points = np.random.default_rng(0).normal(size=(9, 2))
    groups = ["$a$", "b", "c"] * 3
    splits = ["train"] * 6 + ["test"] * 3
    paint_map(figure, points, ("one", "two"), groups, splits, "title")
    canvas.draw()
    (axes,) = figure.axes
    drawn = dict(zip(["train", "test"], axes.collections, strict=True))
    assert [len(scatter.get_offsets()) for scatter in drawn.values()] == [6, 3]
    offsets = np.concatenate([scatter.get_offsets() for scatter in drawn.values()])
    assert {tuple(point) for point in offsets.tolist()} == {tuple(p) for p in points.tolist()}
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [r"\$a\$ (3)", "b (3)", "c (3)", "train (6)", "test (3)"]
    assert axes.get_xlabel() == "one"


def test_colours_differ() -> None:
    for number in (1, 4, 6, 12):
        assert len(set(choose_colours(number))) == number
