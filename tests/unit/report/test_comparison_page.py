"""A comparison as a document: what was found stands in it, in tables, sentences and figures."""

from collections.abc import Callable

import numpy as np
import pytest

from medlora.compare.comparison import Comparison, compare_methods
from medlora.compare.paired import MethodAnswers
from medlora.report.comparison import describe_comparison
from medlora.report.content import ReportContent
from medlora.report.document import Document, render_document
from medlora.report.forest import ForestRow, draw_forest, write_difference
from medlora.report.markdown import format_document
from medlora.report.overlaid_curves import draw_overlaid_rocs, list_drawn_classes
from medlora.report.sections import Items, Table
from tests.unit.report.page_reader import EVIL, PageReader

CLASSES = ("none", "glioma")


@pytest.fixture(scope="module")
def targets() -> np.ndarray:
    return np.eye(2, dtype=bool)[np.arange(40) % 2]


@pytest.fixture(scope="module")
def methods(targets: np.ndarray) -> list[MethodAnswers]:
    generator = np.random.default_rng(0)
    made = []
    for name, sharpness, n_seeds in (("lora", 1.5, 2), (EVIL, 0.5, 1)):
        own = []
        for _ in range(n_seeds):
            chance = 1 / (
                1 + np.exp(-sharpness * (2 * targets[:, 1] - 1 + generator.normal(size=40)))
            )
            own.append(np.stack([1 - chance, chance], axis=1))
        made.append(MethodAnswers(name, tuple(own), tuple(each > 0.5 for each in own)))
    return made


@pytest.fixture(scope="module")
def comparison(methods: list[MethodAnswers], targets: np.ndarray) -> Comparison:
    return compare_methods(
        methods,
        targets,
        multi_label=False,
        group_numbers=np.arange(40),
        margin=0.05,
        n_resamples=20,
    )


@pytest.fixture
def document(
    comparison: Comparison,
    methods: list[MethodAnswers],
    targets: np.ndarray,
    content_maker: Callable[..., ReportContent],
) -> Document:
    return describe_comparison(
        comparison,
        CLASSES,
        targets,
        {method.name: method.probabilities[0] for method in methods},
        {"lora": [content_maker(), content_maker()], EVIL: [content_maker()]},
        "medlora compare a b",
    )


def test_it_holds_what_was_found(document: Document, comparison: Comparison) -> None:
    assert document.summary[-1] == comparison.verdicts[0]
    assert "A loss of 0.05 AUROC was to count as not worse." in document.summary[0]
    sections = {section.anchor: section for section in document.sections}
    assert sections["verdicts"].blocks == (Items(comparison.verdicts),)
    methods, tests, measures, mcnemar = (
        block
        for name in ("methods", "differences")
        for block in sections[name].blocks
        if isinstance(block, Table)
    )
    assert methods.rows[0][:3] == ("lora", "2", f"{comparison.methods[0].auroc:.3f}")
    found = comparison.pairs[0].auroc
    assert tests.rows[0][1:3] == (f"{found.value:+.3f}", f"{found.low:+.3f} to {found.high:+.3f}")
    assert {row[0] for row in measures.rows} >= {"Accuracy", "F1 score"}
    alone = comparison.pairs[0].mcnemar[0]
    assert mcnemar.rows[0][1:3] == (str(alone.only_first), str(alone.only_second))


def test_it_can_be_read_as_a_page_and_as_markdown(document: Document) -> None:
    page = render_document(document)
    reader = PageReader(page)
    assert "<script" not in page
    assert EVIL in " ".join(reader.text_in("table"))
    assert reader.text_in("h2")[:2] == ["Verdicts", "Methods"]
    assert len([tag for tag, _ in reader.tags if tag == "figure"]) == 2
    assert "margin 0.05" in " ".join(reader.text_in("svg"))
    markdown = format_document(document, "figures")
    assert set(markdown.files) == {"figures/figure-1.svg", "figures/figure-2.svg"}


def test_each_run_is_told_in_short(document: Document) -> None:
    text = PageReader(render_document(document)).all_text()
    assert "run 1" in text and "run 2" in text and "medlora train data --rank 4" in text
    assert "3f9a12" + "0" * 58 in text


def test_a_forest_names_every_difference() -> None:
    rows = [ForestRow("a − b", 0.1, -0.1, 0.3), ForestRow("a − c", -0.2, None, None)]
    svg = draw_forest("f", rows, "difference", margin=None)
    assert "+0.100 (-0.100 to +0.300)" in svg and "-0.200" in svg and "margin" not in svg
    assert write_difference(rows[1]) == "-0.200"


def test_classes_without_a_curve_are_not_drawn() -> None:
    targets = np.zeros((6, 4), dtype=bool)
    targets[:3, 0] = targets[:, 1] = targets[2:, 3] = True
    assert list_drawn_classes(targets) == [0, 3]
    answers = np.tile(np.linspace(0, 1, 6)[:, None], (1, 4))
    svg = draw_overlaid_rocs(["one", "all", "no", "four"], targets, {"lora": answers})
    assert ">one<" in svg and ">four<" in svg and ">all<" not in svg and ">no<" not in svg
