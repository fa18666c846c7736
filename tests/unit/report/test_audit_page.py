import dataclasses

import numpy as np
import pytest

from medlora.report.audit_content import (
    AuditContent,
    GridTable,
    IntervalRow,
    Tile,
    TileGroup,
)
from medlora.report.audit_page import render_audit
from medlora.report.content import thumbnail

PICTURE = thumbnail(np.zeros((3, 8, 8), np.uint8))
TILE = Tile(PICTURE, ("glioma", "test"), "a/<b>.png")
CONTENT = AuditContent(
    title="brains & more",
    kicker="tf_efficientnet_lite0",
    summary="20 images: 1 finding to be mended.",
    blocking=("3 of the 5 test images are also in training.",),
    warnings=("The label can be told from file size alone.",),
    notes=(),
    counts=GridTable("Images.", ("class", "train"), (("glioma", "12"),)),
)


def test_an_empty_audit_says_that_nothing_was_found() -> None:
    page = render_audit(dataclasses.replace(CONTENT, blocking=(), warnings=()))
    assert "No two images show the same picture." in page
    assert "To be mended" not in page
    assert "brains &amp; more" in page


def test_findings_pictures_and_tables_stand_on_the_page() -> None:
    content = dataclasses.replace(
        CONTENT,
        groups=(TileGroup("2 images, identical files", True, (TILE, TILE), 3),),
        n_groups=9,
        issues=(TILE,),
        n_issues=4,
        tables=(GridTable("Sources.", ("column", "share"), (("photo", "0.9"),)),),
        shortcuts=(IntervalRow("file size", 0.8, 0.7, 0.9, True),),
        histograms={"width": {"train": np.arange(5.0), "test": np.arange(3.0)}},
        command="medlora audit DATA",
    )
    page = render_audit(content)
    for words in (
        "3 of the 5 test images are also in training.",
        "1 of 9 groups",
        "and 3 more",
        "1 of 4 images",
        "Sources.",
        "medlora audit DATA",
        "file size 0.80",
        "train: median 2",
    ):
        assert words in page, words
    assert page.count("data:image/png;base64") == 3
    assert "a/&lt;b&gt;.png" in page
    assert "<b>.png" not in page
    assert page == render_audit(content)
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize("low", [None, 0.4])
def test_a_value_without_an_interval_is_drawn_too(low) -> None:
    rows = (IntervalRow("width", 0.5, low, None if low is None else 0.6, False),)
    assert "width 0.50" in render_audit(dataclasses.replace(CONTENT, shortcuts=rows))


def test_one_value_everywhere_makes_a_histogram_too() -> None:
    histograms = {"width": {"": np.full(4, 28.0)}}
    assert "all images (4)" in render_audit(dataclasses.replace(CONTENT, histograms=histograms))
