"""Markdown as a parser of Markdown reads it."""

import re
from collections.abc import Callable

import pytest
from markdown_it import MarkdownIt

from medlora.report.content import ReportContent
from medlora.report.document import Document
from medlora.report.markdown import escape_line, format_document
from medlora.report.plain import arrange_document
from medlora.report.sections import Figure, Gallery, Paragraph, Picture, Section, Table

SVG = '<svg role="img"><text>0.5</text></svg>'
PNG = b"\x89PNG\r\n\x1a\n rest"
HOSTILE = (
    "<script>alert('x')</script>",
    "# heading",
    "1. list",
    "2) list",
    "- list",
    "+ list",
    "=====",
    "*bold* _thin_ `code` ~~gone~~",
    "a | b",
    "[text](https://example.org)",
    "![picture](https://example.org/x.png)",
    "&lt;b&gt; &#60; R&D",
    "\\",
    "> quoted",
    "$x$",
)


def parse(text: str) -> str:
    """As HTML, with GitHub's tables."""
    return MarkdownIt("commonmark").enable("table").render(text)


def read_plainly(html: str) -> str:
    """The text that a reader sees."""
    plain = re.sub(r"<[^>]+>", "", html)
    for entity, char in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        plain = plain.replace(entity, char)
    return plain


@pytest.mark.parametrize("text", HOSTILE)
def test_text_shows_nothing_but_itself(text: str) -> None:
    html = parse(escape_line(text)).strip()
    assert html.startswith("<p>") and html.endswith("</p>")
    assert html.count("<") == 2
    assert read_plainly(html) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_text_in_cells_shows_nothing_but_itself(text: str) -> None:
    table = Table(text, (text, "n"), ((text, "3"),))
    html = parse(format_document(Document(text, (Section(text, "a", text, (table,)),))).text)
    assert html.count("<table>") == 1
    cells = re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", html, flags=re.DOTALL)
    assert [read_plainly(cell) for cell in cells] == [text, "n", text, "3"]
    assert "<script" not in html and "href" not in html and "<img" not in html
    assert [read_plainly(each) for each in re.findall("<h[12]>.*?</h[12]>", html)] == [text] * 2


def test_numbers_stand_to_the_right() -> None:
    table = Table("Ages", ("age", "n"), (("young", "3"),))
    html = parse(format_document(Document("A", (Section("B", "b", "", (table,)),))).text)
    assert '<td style="text-align:right">3</td>' in html


def test_figures_and_pictures_are_files_beside_the_page() -> None:
    blocks = (Figure(SVG, "a curve"), Gallery((Picture(PNG, "one"), Picture(PNG, "two"))))
    document = Document("A", (Section("B", "b", "", blocks),))
    page = format_document(document, "figures")
    assert list(page.files) == [
        "figures/figure-1.svg",
        "figures/picture-1.png",
        "figures/picture-2.png",
    ]
    assert page.files["figures/picture-1.png"] == PNG
    assert page.files["figures/figure-1.svg"].startswith(b'<svg xmlns="http://www.w3.org/2000/svg"')
    assert re.findall(r'src="([^"]+)"', parse(page.text)) == list(page.files)


def test_without_a_folder_what_is_left_out_is_said() -> None:
    blocks = (Figure(SVG, "a curve"), Gallery((Picture(PNG, "one"),)))
    page = format_document(Document("A", (Section("B", "b", "", blocks),)))
    assert page.files == {} and "<img" not in parse(page.text)
    assert "(The drawing is left out here.)" in page.text
    assert "(The pictures are left out here.)" in page.text


def test_a_command_with_backticks_stays_in_its_block() -> None:
    document = Document("A", (Section("B", "b", "", (Paragraph("c"),)),), command="a ``` b")
    html = parse(format_document(document).text)
    assert html.count("<pre>") == 1 and "a ``` b" in html


@pytest.mark.parametrize("name", ["full_content", "hostile_content", "label_content"])
def test_a_whole_report_can_be_parsed(name: str, request: pytest.FixtureRequest) -> None:
    content: ReportContent = request.getfixturevalue(name)
    page = format_document(arrange_document(content), "figures")
    html = parse(page.text)
    assert "<script" not in html
    sources = re.findall(r'src="([^"]+)"', html)
    assert sources == list(page.files)
    assert len([each for each in sources if "picture" in each]) == len(content.mistakes)
    titles = [read_plainly(each) for each in re.findall("<h2>(.*?)</h2>", html)]
    assert titles[-2:] == ["TRIPOD+AI 2024", "Command"]
    for before, after in (("Key figures", "The worst mistakes"), ("Limits", "Task card")):
        assert titles.index(before) < titles.index(after)
    # Every row of a table has a cell for each column.
    for table in re.findall(r"<table>.*?</table>", html, flags=re.DOTALL):
        rows = re.findall(r"<tr>.*?</tr>", table, flags=re.DOTALL)
        assert len({len(re.findall(r"<t[hd][ >]", row)) for row in rows}) == 1


def test_the_same_content_gives_the_same_page(
    content_maker: Callable[..., ReportContent],
) -> None:
    first, second = (format_document(arrange_document(content_maker()), "f") for _ in range(2))
    assert first == second
