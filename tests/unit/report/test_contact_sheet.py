"""The sheet of pictures."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medlora.report.contact_sheet import measure_sheet, paint_sheet


def test_every_picture_has_its_place_in_row_and_column() -> None:
    colours = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40 + 20
    pictures = [[np.full((8, 8, 3), level, np.uint8) for level in row] for row in colours]
    size = measure_sheet(2, 3)
    figure = Figure(figsize=size, dpi=50)
    canvas = FigureCanvasAgg(figure)
    paint_sheet(figure, ["a", "b", "c"], ["one\ntrain", "$two$" * 40], pictures)
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., 0]
    for row in range(2):
        for column in range(3):
            left, top = 1.1 + (column + 0.5) * 1.5, 0.35 + (row + 0.5) * 1.5
            assert drawn[round(top * 50), round(left * 50)] == colours[row, column]
    shown = [text.get_text() for text in figure.texts]
    assert shown[0] == "one\ntrain"
    assert shown[-3:] == ["a", "b", "c"]
