from xml.etree import ElementTree

from medlora.tune.figures import draw_importance, draw_parallel
from medlora.tune.space import Choice, Range


def test_figures_name_what_they_show() -> None:
    dimensions = {
        "rank": Range(1, 64, None, True, True),
        "dropout": Range(0.0, 0.5, 0.1, False, False),
        "optimizer": Choice(("adam", "sgd")),
        "alpha": Choice((None,)),
    }
    rows = [
        ({"rank": 8, "dropout": 0.1, "optimizer": "sgd", "alpha": None}, 0.5),
        ({"rank": 64, "dropout": 0.5, "optimizer": "adam", "alpha": None}, 0.75),
    ]
    ElementTree.fromstring(draw_parallel(rows, dimensions, "auroc", ".svg"))
    picture = draw_parallel(rows, dimensions, "auroc", ".png")
    assert picture == draw_parallel(rows, dimensions, "auroc", ".png")
    assert picture != draw_parallel(rows[:1], dimensions, "auroc", ".png")
    bars = draw_importance({"rank": 0.75, "dropout": 0.25}, ".png")
    assert bars != draw_importance({"rank": 0.5, "dropout": 0.5}, ".png")
