"""Sections refuse what a page could not show, or would have to trust."""

from collections.abc import Callable

import pytest

from medlora.errors import SettingsError
from medlora.report.content import ReportContent
from medlora.report.sections import Figure, Gallery, Paragraph, Picture, Section, Table, check_svg

SVG = '<svg viewBox="0 0 1 1"><path d="M0 0"/></svg>'
PNG = b"\x89PNG\r\n\x1a\n rest"
JPEG = b"\xff\xd8\xff rest"


def test_a_row_has_a_cell_for_each_column() -> None:
    with pytest.raises(SettingsError, match=r"Row 1 of the table 'Ages' has 1 cells and the head"):
        Table("Ages", ("age", "n"), (("young", "3"), ("old",)))


def test_a_column_has_a_width_of_its_own_or_none_has() -> None:
    with pytest.raises(SettingsError, match="has 2 columns and 1 widths"):
        Table("Ages", ("age", "n"), (), widths=(0.5,))


def test_pictures_are_known_by_their_first_bytes() -> None:
    assert Picture(PNG, "a").media_type == "image/png"
    assert Picture(JPEG, "b").media_type == "image/jpeg"
    with pytest.raises(SettingsError, match=r"The picture 'c' is neither PNG nor JPEG"):
        Picture(b"GIF89a", "c")


def test_a_gallery_has_one_to_ten_columns() -> None:
    with pytest.raises(SettingsError, match="1 to 10 pictures in a row, not 0"):
        Gallery((Picture(PNG, "a"),), n_columns=0)


@pytest.mark.parametrize(
    ("svg", "rule"),
    [
        ("<svg", "is no SVG element"),
        ("<p>text</p>", "is an element 'p', not svg"),
        ("<svg><script>alert(1)</script></svg>", "has an element 'script'"),
        ('<svg xmlns:s="http://www.w3.org/2000/svg"><s:foreignObject/></svg>', "'foreignobject'"),
        ('<svg><path onclick="x()"/></svg>', "attribute 'onclick'"),
        ('<svg><use href="https://example.org/x.svg#a"/></svg>', "attribute 'href'"),
    ],
)
def test_a_drawing_runs_and_fetches_nothing(svg: str, rule: str) -> None:
    with pytest.raises(SettingsError, match=rule):
        Figure(svg, "curve")


def test_a_drawing_may_refer_to_itself_and_hold_a_raster() -> None:
    check_svg('<svg><image href="data:image/png;base64,AA=="/><use href="#a"/></svg>', "map")
    assert Figure(SVG, "curve").svg == SVG


@pytest.mark.parametrize("anchor", ["", "Two", "two words", "1st", 'a"b'])
def test_an_anchor_is_one_plain_word(anchor: str) -> None:
    with pytest.raises(SettingsError, match="The anchor of the section 'Ages' must be"):
        Section("Ages", anchor)


def test_a_section_has_a_title() -> None:
    with pytest.raises(SettingsError, match="needs a title"):
        Section("  ", "ages")


@pytest.mark.parametrize("anchor", ["ages", "card"])
def test_an_anchor_is_used_once(content_maker: Callable[..., ReportContent], anchor: str) -> None:
    sections = (Section("Ages", "ages"), Section("Again", anchor, blocks=(Paragraph("x"),)))
    with pytest.raises(SettingsError, match=f"have the anchor '{anchor}'; the second is 'Again'"):
        content_maker(sections=sections)
