"""Data card, method, limits and model card say what the run knows, and no more."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medlora.report.content import ReportContent
from medlora.report.facts import ListedImage, count_files
from medlora.report.model_card import describe_model
from medlora.report.own_sections import list_sections
from medlora.report.result_accounts import list_limits
from medlora.report.sections import Entries, Heading, Items, Paragraph, Section, Table
from tests.unit.report.conftest import make_card

COUNTS = {"glioma": 30, "meningioma": 31, "none": 32, "pituitary": 33}
DATA = {
    "name": "brain",
    "n_images": {"train": 126, "val": 126, "test": 60},
    "counts": {"train": COUNTS, "val": COUNTS, "test": dict.fromkeys(COUNTS, 15)},
    "patients_known": True,
    "n_skipped": 0,
    "sha256": "ab" * 32,
}
TRAINING = {
    "optimizer": "adamw",
    "learning_rate": 0.003,
    "schedule": "cosine",
    "warmup_fraction": 0.1,
    "weight_decay": 0.01,
    "batch_size": 32,
    "epochs": 10,
    "n_epochs_done": 7,
    "best_epoch": 5,
    "precision": "bf16",
    "augmentation": {"rotation_degrees": 10.0, "noise": 0.0},
    "class_weights": "balanced",
    "sampling": "none",
    "select_by": "auroc",
    "thresholds": "youden",
    "val_fraction": 0.15,
    "test_fraction": 0.15,
    "seed": 3,
    "weights": "timm",
}
FACTS = count_files(
    [
        ListedImage("train", "glioma", "1", "anna"),
        ListedImage("train", "none", "1", "bert"),
        ListedImage("test", "glioma", "2", "cleo"),
    ]
)


@pytest.fixture
def real_content(content_maker: Callable[..., ReportContent]) -> ReportContent:
    """What a run of today gives."""
    return content_maker(card=make_card(data=DATA, training=TRAINING), facts=FACTS)


def find(sections: tuple[Section, ...], anchor: str) -> Section:
    return next(section for section in sections if section.anchor == anchor)


def read_entries(section: Section) -> dict[str, str]:
    return dict(pair for each in section.blocks if isinstance(each, Entries) for pair in each.pairs)


def test_sections_of_others_stand_between_a_reports_own(
    content_maker: Callable[..., ReportContent],
) -> None:
    sections = tuple(
        Section(place, place, place=place)  # type: ignore[arg-type]
        for place in ("appendix", "limits", "mistakes", "results", "methods")
    )
    sections = tuple(Section(s.title, f"own-{s.anchor}", place=s.place) for s in sections)
    found = list_sections(content_maker(sections=sections))
    assert [section.anchor for section in found] == [
        "verdict",
        "data",
        "own-methods",
        "method",
        "own-results",
        "own-mistakes",
        "limits",
        "own-limits",
        "own-appendix",
        "model-card",
        "claim",
        "tripod",
    ]


def test_the_data_card_counts_classes_patients_and_copies(real_content: ReportContent) -> None:
    section = find(list_sections(real_content), "data")
    table = next(block for block in section.blocks if isinstance(block, Table))
    assert table.head == ("Class", "training", "validation", "test")
    assert table.rows[0] == ("glioma", "30", "30", "15")
    assert table.rows[-2:] == (("all images", "126", "126", "60"), ("patients", "2", "", "1"))
    entries = read_entries(section)
    assert entries["source"].endswith(f"SHA-256 over all files {'ab' * 32}.")
    assert "60 test images of 1 patients" in entries["source"]
    assert "draw with seed 3 (15 % for validation, 15 % for testing)" in entries["split"]
    assert entries["splits are disjoint"] == (
        "By patient: no patient is in two splits. No two splits share a file with the same bytes."
    )
    assert entries["identical files"] == (
        "Groups of identical files: 1, with 2 images. Groups across splits: 0. Groups whose labels "
        "differ: 1."
    )
    assert "224 × 224 pixels" in entries["preprocessing"]
    assert "Contrast is raised by clahe." in entries["preprocessing"]


def test_the_method_names_network_adapter_training_and_choice(real_content: ReportContent) -> None:
    entries = read_entries(find(list_sections(real_content), "method"))
    assert "low-rank adapter on a frozen backbone (vit_tiny_patch16_224)" in entries["kind"]
    assert "rank 4, alpha 8, scale alpha/rank, dropout 0.1" in entries["network"]
    assert "blocks.*.attn.qkv (q, v) × 12; the backbone stays frozen" in entries["network"]
    assert "adamw with learning rate 0.003 (cosine schedule" in entries["training"]
    assert (
        "at most 10 epochs, 7 done; precision bf16; augmentation: rotation degrees 10."
        in (entries["training"])
    )
    assert entries["choice of the model"] == (
        "The epoch with the best AUROC on 126 validation images; epoch 5 was kept. The test images "
        "had no part in it."
    )
    assert "largest sum of sensitivity and specificity: glioma: 0.25," in entries["output"]
    assert entries["unequal classes"].startswith("For classes of unequal size, the loss weighs")


def test_the_method_tells_of_calibration_and_prediction_sets(
    content_maker: Callable[..., ReportContent],
) -> None:
    calibration = {"method": "temperature", "source": "val", "n_images": 126}
    card = make_card(
        training=TRAINING,
        calibration=calibration,
        conformal={"coverage": 0.9, "by_class": True},
    )
    entries = read_entries(find(list_sections(content_maker(card=card)), "method"))
    assert entries["calibration"] == (
        "Probabilities were calibrated by one scale for all classes, fitted on 126 validation "
        "images; it is part of the stored head."
    )
    assert entries["output"].endswith(
        "made to hold the truth for 0.9 of the images of each class; where it does not hold one "
        "class, the task abstains."
    )


def test_without_a_card_nothing_is_made_up(label_content: ReportContent) -> None:
    anchors = [section.anchor for section in list_sections(label_content)]
    assert anchors == ["verdict", "limits", "model-card", "claim", "tripod"]


def limits(content: ReportContent) -> str:
    return "\n".join(list_limits(content))


def test_limits_give_the_width_of_the_interval(real_content: ReportContent) -> None:
    interval = real_content.evaluation["overall"]["accuracy"]
    width = interval["high"] - interval["low"]
    assert f"60 test images leave accuracy open within an interval {width:.3f} wide" in limits(
        real_content
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"split": "val"}, "There is no test split"),
        ({"n_skipped": 3}, "Unreadable images that were left out: 3."),
        ({"facts": {"n_patients_across": 4}}, "in several splits, which makes scores flatter: 4."),
    ],
)
def test_limits_are_named_where_they_are_there(
    content_maker: Callable[..., ReportContent], changes: dict[str, Any], words: str
) -> None:
    card = make_card(data=DATA, training=TRAINING)
    assert words in limits(content_maker(card=card, **changes))
    assert words not in limits(content_maker(card=card))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("training", TRAINING | {"shuffled_labels": True}, "Labels were shuffled on purpose"),
        ("data", DATA | {"patients_known": False}, "Patients are not known"),
        ("data", DATA | {"n_images": {"val": 500}}, ""),
        ("note", " ", "No intended use was stated"),
        ("calibration", {"method": "temperature"}, ""),
    ],
)
def test_limits_follow_from_the_card(
    content_maker: Callable[..., ReportContent], key: str, value: Any, words: str
) -> None:
    card = {"data": DATA, "training": TRAINING}
    before = limits(content_maker(card=make_card(**card)))
    after = limits(content_maker(card=make_card(**(card | {key: value}))))
    if words:
        assert words in after and words not in before
    else:
        assert set(after.splitlines()) < set(before.splitlines())


def test_images_seen_in_training_and_absent_classes_are_limits(
    full_content: ReportContent, label_content: ReportContent
) -> None:
    assert "Of the test images, 20 are byte for byte among" in limits(full_content)
    assert "No image of finding 13: nothing is known" in limits(label_content)
    assert "less than 30 images is hardly known" in limits(full_content)


def test_a_model_card_has_the_customary_fields(real_content: ReportContent) -> None:
    section = describe_model(real_content)
    assert [block.text for block in section.blocks if isinstance(block, Heading)] == [
        "Model details",
        "Intended use",
        "Factors",
        "Metrics",
        "Evaluation data",
        "Training data",
        "Quantitative analyses",
        "Ethical considerations",
        "Caveats and recommendations",
    ]
    texts = [block.text for block in section.blocks if isinstance(block, Paragraph)]
    assert "Slices of one hospital." in texts
    scores, classes = (block for block in section.blocks if isinstance(block, Table))
    accuracy = real_content.evaluation["overall"]["accuracy"]["value"]
    assert next(row for row in scores.rows if row[0] == "Accuracy")[1] == f"{accuracy:.3f}"
    recall = real_content.evaluation["per_class"]["glioma"]["recall"]["value"]
    assert classes.rows[0][0] == "glioma" and classes.rows[0][2].startswith(f"{recall:.2f} (")


def test_every_limit_is_a_line_of_the_report(real_content: ReportContent) -> None:
    section = find(list_sections(real_content), "limits")
    assert section.blocks == (Items(tuple(list_limits(real_content))),)
    assert np.unique(list_limits(real_content)).size == len(list_limits(real_content)) > 3
