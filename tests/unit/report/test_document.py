"""Sections on a page, alone and within a run's report."""

import re
from collections.abc import Callable

import pytest

from medlora.report.content import ReportContent
from medlora.report.document import Document, render_document
from medlora.report.page import render_report
from medlora.report.plain import arrange_document
from medlora.report.sections import (
    Block,
    Caution,
    Entries,
    Figure,
    Gallery,
    Heading,
    Paragraph,
    Picture,
    Section,
    Table,
)
from tests.unit.report.page_reader import EVIL, PageReader

SVG = '<svg role="img" aria-label="d"><text>0.5</text></svg>'
PNG = b"\x89PNG\r\n\x1a\n rest"


def every_block(text: str) -> tuple[Block, ...]:
    """One of each kind, all of whose words are `text`."""
    return (
        Paragraph(text),
        Paragraph(text, is_small=True),
        Heading(text),
        Caution(text),
        Entries(((text, text),)),
        Table(text, (text, "n"), ((text, "3"), (text, "4"))),
        Figure(SVG, text),
        Figure(SVG, text, is_half=True),
        Figure(SVG, text, is_half=True),
        Gallery((Picture(PNG, text), Picture(PNG, text)), text, n_columns=2),
    )


def make_document(text: str) -> Document:
    return Document(
        text,
        (
            Section(text, "first", text, every_block(text)),
            Section(text, "second", "", (Table(text, (text,), ()),)),
        ),
        kicker=text,
        summary=(text,),
        warnings=(text,),
        command=text,
        version=text,
    )


def test_every_block_is_shown_and_numbered() -> None:
    page = render_document(make_document("word"))
    reader = PageReader(page)
    numbers = [text for path, text in reader.texts if path[-1] == "b" and path[-2] != "p"]
    assert numbers == ["Table 1.", "Figure 1.", "Figure 2.", "Figure 3.", "Table 2."]
    assert reader.attributes("img", "alt") == ["word", "word"]
    assert reader.text_in("svg") == ["0.5"] * 3
    assert reader.rows(page)[:2] == ["word n", "word 3"]
    # Two half-wide figures share a row.
    assert page.count('<div class="pair">') == 1


def test_the_contents_lead_to_every_section() -> None:
    page = render_document(make_document("word"))
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert re.findall(r'href="#([^"]+)"', page) == ["first", "second", "command"]
    assert ids == ["contents", "first", "second", "command"]


def test_text_from_outside_stays_text_in_every_block() -> None:
    page = render_document(make_document(EVIL))
    reader = PageReader(page)
    assert "<script" not in page
    assert reader.text_in("h1") == [EVIL] and reader.text_in("h2") == [EVIL, EVIL, "Command"]
    for tag in ("h3", "p", "dt", "dd", "th", "caption", "figcaption", "li", "a", "pre"):
        assert EVIL in " ".join(reader.text_in(tag)), tag
    quoted = render_document(make_document('" onload="x'))
    attributes = {key for _, found in PageReader(quoted).tags for key in found}
    assert "onload" not in attributes
    assert '" onload="x' in PageReader(quoted).attributes("img", "alt")


def test_a_document_asks_nothing_of_the_network() -> None:
    reader = PageReader(render_document(make_document("https://example.org/x.css")))
    targets = [
        value
        for _, found in reader.tags
        for key, value in found.items()
        if key in ("src", "href", "srcset")
    ]
    assert targets and all(each.startswith(("#", "data:image/png;base64,")) for each in targets)
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in reader.tags)


def test_odd_characters_can_be_written() -> None:
    render_document(make_document("\udcff\x00")).encode("utf-8")


@pytest.mark.parametrize("place", ["methods", "results", "appendix"])
def test_a_reports_sections_stand_at_their_place(
    content_maker: Callable[..., ReportContent], place: str
) -> None:
    sections = (
        Section("Ages", "ages", blocks=every_block("word"), place=place),  # type: ignore[arg-type]
    )
    page = render_report(content_maker(sections=sections))
    anchors = re.findall(r'<section id="([^"]+)"', page)
    before = {"methods": "data", "results": "figures", "appendix": "card"}[place]
    at = anchors.index("ages")
    assert anchors[at - 1] == before
    # The contents list the parts in their order.
    assert re.findall(r'<a href="#([^"]+)"', page) == anchors
    captions = " ".join(text for path, text in PageReader(page).texts if path[-1] == "b")
    for kind in ("Figure", "Table"):
        numbers = [int(number) for number in re.findall(rf"{kind} (\d+)\.", captions)]
        assert numbers == list(range(1, len(numbers) + 1))


def test_blocks_about_mistakes_stand_below_their_pictures(
    content_maker: Callable[..., ReportContent],
) -> None:
    blocks = (Paragraph("Maps by Grad-CAM."),)
    sections = (Section("Heat maps", "heat-maps", "", blocks, "mistakes"),)
    content = content_maker(sections=sections)
    page = render_report(content)
    assert "Maps by Grad-CAM." in page.partition('id="mistakes"')[2].partition("</section>")[0]
    assert 'href="#heat-maps"' not in page and ">Heat maps<" not in page
    plain = next(each for each in arrange_document(content).sections if each.anchor == "mistakes")
    assert plain.blocks[-1:] == blocks


def test_a_fold_table_names_the_table_of_all_answers(
    content_maker: Callable[..., ReportContent],
) -> None:
    first = content_maker()
    folds = [{**first.evaluation, "best_epoch": 2}] * 2
    sections = (Section("Ages", "ages", blocks=every_block("word"), place="methods"),)
    page = render_report(content_maker(folds=folds, sections=sections, split="out-of-fold"))
    assert "Table 3 takes all these answers together." in page


def test_heat_maps_stand_beside_their_pictures(
    content_maker: Callable[..., ReportContent], full_content: ReportContent
) -> None:
    first, second = full_content.mistakes[:2]
    mistakes = [first._replace(heat_map=second.thumbnail), second]
    page = render_report(content_maker(mistakes=mistakes))
    assert len(PageReader(page).attributes("img", "src")) == 3
    assert "what the decision rests on" in page
    assert "what the decision rests on" not in render_report(full_content)
