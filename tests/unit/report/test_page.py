"""The page as a browser would read it."""

import base64
import re
from collections.abc import Callable

import numpy as np
import pytest

from medlora.report.content import ReportContent
from medlora.report.drawings import list_confusions
from medlora.report.page import render_report
from tests.unit.report.page_reader import EVIL, PageReader


@pytest.fixture(params=["full_page", "hostile_page", "label_page"])
def any_page(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def test_every_page_is_well_formed_and_complete(any_page: str) -> None:
    reader = PageReader(any_page)
    headings = reader.text_in("h2")
    # Without a card there is nothing to be said of data and method.
    before = ["Data", "Method"] if "Data" in headings else []
    assert headings == [
        "Verdict",
        *before,
        "Key figures",
        "By class",
        "Discrimination and calibration",
        "The worst mistakes",
        "Training",
        "Limits",
        "Task card",
        "Model card",
        "CLAIM 2024",
        "TRIPOD+AI 2024",
        "Command",
    ]
    contents = [text for path, text in reader.texts if "nav" in path and "a" in path]
    assert contents == [heading for heading in headings if heading != "By class"]
    captions = " ".join(text for path, text in reader.texts if path[-1] == "b")
    numbers = [int(number) for number in re.findall(r"Figure (\d+)\.", captions)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) == len([tag for tag, _ in reader.tags if tag == "figure"])


def test_no_page_asks_for_anything_from_elsewhere(any_page: str) -> None:
    reader = PageReader(any_page)
    assert {"script", "link", "iframe", "object", "base", "form"}.isdisjoint(
        tag for tag, _ in reader.tags
    )
    targets = [
        value
        for _, attributes in reader.tags
        for key, value in attributes.items()
        if key in ("src", "href", "xlink:href", "srcset", "action")
    ]
    assert all(target.startswith(("data:image/png;base64,", "#")) for target in targets)
    assert not any(key.startswith("on") for _, attributes in reader.tags for key in attributes)
    style = " ".join(reader.text_in("style"))
    assert "url(" not in style and "@import" not in style
    policy = next(
        attributes["content"] for _, attributes in reader.tags if "http-equiv" in attributes
    )
    assert policy.startswith("default-src 'none'") and "script" not in policy


def test_references_inside_the_drawings_lead_somewhere_and_to_one_place(any_page: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', any_page)
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'(?:href="|url\()#([^")]+)', any_page))
    assert references and references <= set(ids)


def test_a_normal_report_stays_small(full_page: str) -> None:
    assert len(full_page.encode()) < 1_500_000


def test_the_same_content_gives_the_same_bytes(
    content_maker: Callable[..., ReportContent],
) -> None:
    assert render_report(content_maker()) == render_report(content_maker())


def test_the_first_sentence_states_the_result(full_content: ReportContent, full_page: str) -> None:
    accuracy = full_content.evaluation["overall"]["accuracy"]
    unseen = full_content.evaluation_unseen
    assert unseen is not None
    text = PageReader(full_page).all_text()
    assert (
        f"On 60 test images (30 patient groups), accuracy is {accuracy['value']:.3f} "
        f"(95 % interval {accuracy['low']:.3f} to {accuracy['high']:.3f})"
    ) in text
    value = unseen["overall"]["accuracy"]["value"]
    assert f"on the 40 images whose bytes are not in training, {value:.3f} and" in text


def test_warnings_stand_before_the_numbers(full_page: str) -> None:
    text = PageReader(full_page).all_text()
    warning = text.index("The network answers none for 90 % of the images.")
    assert warning < text.index("2 unreadable images were left out.") < text.index("Table 1.")
    assert "No warning was raised" not in text


def test_without_a_warning_the_page_says_so(label_page: str) -> None:
    assert "No warning was raised, and no image was left out." in PageReader(label_page).all_text()


def test_key_figures_hold_both_evaluations_with_intervals(
    full_content: ReportContent, full_page: str
) -> None:
    rows = PageReader(full_page).rows(full_page)
    unseen = full_content.evaluation_unseen
    assert unseen is not None
    assert any("All test images n = 60 Only test images whose" in row for row in rows)
    for name, key in [("Calibration error", "calibration_error"), ("AUROC", "auroc")]:
        row = next(row for row in rows if row.startswith(name))
        for evaluation in (full_content.evaluation, unseen):
            estimate = evaluation["overall"][key]
            words = f"{estimate['value']:.3f} {estimate['low']:.3f}–{estimate['high']:.3f}"
            assert words in row


def test_every_class_has_a_row_with_its_measures(
    full_content: ReportContent, full_page: str
) -> None:
    rows = PageReader(full_page).rows(full_page)
    for name in full_content.classes:
        recall = full_content.evaluation["per_class"][name]["recall"]
        start = f"{name} 15 {recall['value']:.2f} {recall['low']:.2f}–{recall['high']:.2f} "
        assert any(row.startswith(start) and row.endswith(" 0.25") for row in rows)


def test_a_class_without_images_is_undefined_and_named(label_page: str) -> None:
    reader = PageReader(label_page)
    row = next(row for row in reader.rows(label_page) if row.startswith("finding 13 "))
    assert row.startswith("finding 13 0 undefined undefined undefined ")
    assert "None of these images is of class finding 13:" in reader.all_text()
    assert "nan" not in reader.all_text().lower()


def test_multi_label_pages_speak_of_validation_and_exact_match(label_page: str) -> None:
    text = PageReader(label_page).all_text()
    assert "On 80 validation images (40 patient groups), mean AUROC is" in text
    assert "Exact match" in text
    assert "decided −" in text


def test_pages_without_epochs_mistakes_or_card_say_so(label_page: str) -> None:
    text = PageReader(label_page).all_text()
    assert "No epochs were recorded" in text
    assert "No pictures of mistakes were kept." in text
    assert "None was stated when the task was trained." in text


def test_a_perfect_task_has_no_mistakes(content_maker: Callable[..., ReportContent]) -> None:
    page = render_report(content_maker(("benign", "malignant"), 20, 50.0, history=[]))
    text = PageReader(page).all_text()
    assert "Every image was decided rightly." in text
    assert "Most frequent:" not in text


def test_mistakes_show_picture_truth_decision_probability_and_place(
    full_content: ReportContent, full_page: str
) -> None:
    reader = PageReader(full_page)
    pictures = [base64.b64decode(each.split(",")[1]) for each in reader.attributes("img", "src")]
    assert pictures == [mistake.thumbnail for mistake in full_content.mistakes]
    text = reader.all_text()
    assert "true glioma decided none 0.88 a/0.png true glioma decided none 0.88 a/1.png" in text
    confusion = full_content.evaluation["confusion"]
    n_wrong = 60 - sum(confusion[index][index] for index in range(4))
    assert f"20 of {n_wrong} wrong decisions" in text


def test_the_card_and_the_command_are_there(full_page: str) -> None:
    reader = PageReader(full_page)
    text = reader.all_text()
    for words in (
        "3f9a12" + "0" * 58,
        "224 × 224 pixels",
        "contrast clahe",
        "blocks.*.attn.qkv (q, v) × 12",
        "decision thresholds 0.25 for every class",
        "learning rate 0.003",
        "augmentation, noise 0.5",
        "torch 2.9.1",
        "Intended use and limits Slices of one hospital.",
        "2 from seed 7; answers agree within 0.001",
    ):
        assert words in text
    assert " ".join(reader.text_in("pre")) == "medlora train data --rank 4"


def test_text_from_outside_stays_text(hostile_page: str) -> None:
    reader = PageReader(hostile_page)
    assert "<script" not in hostile_page
    assert "onload" not in {key for _, attributes in reader.tags for key in attributes}
    assert [tag for tag, _ in reader.tags if tag == "img"] == ["img"]
    assert reader.text_in("h1") == [EVIL]
    assert reader.text_in("title") == [f"{EVIL}: report"]
    assert "<script>alert…cript>" in reader.text_in("svg")
    assert EVIL in " ".join(reader.text_in("pre"))
    for tag in ("table", "dl", "ol", "li"):
        assert EVIL in " ".join(reader.text_in(tag)), tag


def test_odd_characters_neither_fail_nor_are_taken_for_formulas(hostile_page: str) -> None:
    drawn = " ".join(PageReader(hostile_page).text_in("svg"))
    assert "$\\frac{1}{2}$ & 肺炎" in drawn
    assert "line break\ufffd\ufffd" in drawn
    hostile_page.encode("utf-8")


def test_confusions_are_listed_by_how_often_they_happen() -> None:
    confusion = np.array([[5, 1, 0], [4, 6, 2], [0, 0, 9]])
    assert list_confusions(confusion, ["a", "b", "c"]) == [
        ("b", "a", 4, 12),
        ("b", "c", 2, 12),
        ("a", "b", 1, 6),
    ]
    assert list_confusions(np.eye(2, dtype=int), ["a", "b"]) == []
