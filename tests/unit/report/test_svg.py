"""Inline drawings: small, the same each time, and without side effects."""

from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from medlora.report.svg import add_panel, draw_svg


def paint(figure: Figure) -> None:
    axes = add_panel(figure, 0.5, 0.5, 1, 1)
    axes.plot([0, 1, 2], [0, 1, 0], marker="o")
    axes.set_title("$x$ & <b> 肺炎")


@pytest.fixture(scope="module")
def drawing() -> str:
    return draw_svg("sample", 2, 2, paint, 'A line & "two" ends')


def test_a_drawing_is_one_element_with_a_description(drawing: str) -> None:
    root = ElementTree.fromstring(drawing)
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'A line & "two" ends'
    assert root.get("viewBox") == "0 0 144 144"
    assert root.get("width") is None


def test_a_drawing_names_no_other_site_and_no_date(drawing: str) -> None:
    assert "http" not in drawing
    assert "<metadata" not in drawing and "<style" not in drawing


def test_text_stays_text_and_is_no_formula(drawing: str) -> None:
    texts = ["".join(each.itertext()) for each in ElementTree.fromstring(drawing).iter("text")]
    assert "$x$ & <b> 肺炎" in [text.strip() for text in texts]


def test_only_ids_that_are_used_remain_and_names_keep_them_apart(drawing: str) -> None:
    ids = {each.get("id") for each in ElementTree.fromstring(drawing).iter() if each.get("id")}
    other = draw_svg("other", 2, 2, paint, "")
    assert ids
    assert all(f"#{each}" in drawing for each in ids)
    assert not any(str(each) in other for each in ids)


def test_drawing_twice_gives_the_same(drawing: str) -> None:
    assert draw_svg("sample", 2, 2, paint, 'A line & "two" ends') == drawing


def test_the_users_own_style_neither_shows_nor_changes(drawing: str) -> None:
    with mpl.rc_context({"lines.linewidth": 9.0, "font.size": 30.0, "svg.hashsalt": "theirs"}):
        before = dict(mpl.rcParams)
        assert draw_svg("sample", 2, 2, paint, 'A line & "two" ends') == drawing
        assert dict(mpl.rcParams) == before


def test_panels_are_placed_in_inches() -> None:
    figure = Figure(figsize=(4, 2))
    assert add_panel(figure, 1, 0.5, 2, 1).get_position().bounds == (0.25, 0.25, 0.5, 0.5)
