"""Reports of every kind, drawn once for all tests that read them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medlora.evaluate.score import score
from medlora.report.content import Mistake, ReportContent, thumbnail
from medlora.report.page import render_report

FOUR = ("glioma", "meningioma", "none", "pituitary")
FINGERPRINT = "3f9a12" + "0" * 58


def draw_single_label(n_images: int, n_classes: int, sharpness: float) -> tuple[Any, Any]:
    """Probabilities that lean towards the true class, and one-hot targets."""
    generator = np.random.default_rng(7)
    labels = np.arange(n_images) % n_classes
    logits = generator.normal(size=(n_images, n_classes))
    logits[np.arange(n_images), labels] += sharpness
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities, np.eye(n_classes, dtype=bool)[labels]


def make_card(**changes: Any) -> dict[str, Any]:
    return {
        "format_version": 1,
        "name": "brain-mri",
        "classes": list(FOUR),
        "multi_label": False,
        "method": "lora",
        "backbone": {"name": "vit_tiny_patch16_224", "fingerprint": FINGERPRINT},
        "preprocessing": {
            "size": [224, 224],
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "interpolation": "bicubic",
            "crop_fraction": 0.9,
            "crop_mode": "center",
            "contrast": "clahe",
        },
        "adapter": {
            "rank": 4,
            "alpha": 8.0,
            "scaling": "alpha/rank",
            "dropout": 0.1,
            "layers": {f"blocks.{index}.attn.qkv": ["q", "v"] for index in range(12)},
        },
        "thresholds": [0.25, 0.25, 0.25, 0.25],
        "training": {"best_epoch": 2, "learning_rate": 0.003, "augmentation": {"noise": 0.5}},
        "data": {"n_images": {"train": {"glioma": 71, "none": 72}, "test": {"glioma": 9}}},
        "metrics": {},
        "software": {"medlora": "0.1.0", "torch": "2.9.1"},
        "created": "2025-03-04T12:13:14+00:00",
        "note": "Slices of one hospital.",
        "self_check": {"seed": 7, "n_images": 2, "expected": [[0.5] * 4] * 2, "tolerance": 0.001},
        **changes,
    }


def make_history(n_epochs: int) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "train_loss": 1.25 / epoch,
            "val_loss": 1.5 / epoch,
            "val_auroc": 0.9 - 0.25 / epoch,
            "val_accuracy": None if epoch == 1 else 0.75,
            "learning_rate": 0.003,
            "seconds": 50.0,
        }
        for epoch in range(1, n_epochs + 1)
    ]


def make_content(
    classes: tuple[str, ...] = FOUR,
    n_images: int = 60,
    sharpness: float = 2.0,
    multi_label: bool = False,
    **changes: Any,
) -> ReportContent:
    """A report on made-up answers; the scores are really theirs."""
    probabilities, targets = draw_single_label(n_images, len(classes), sharpness)
    thresholds = [1 / len(classes)] * len(classes)
    arrays = {"probabilities": probabilities, "targets": targets}
    arrays = {key: changes.pop(key, value) for key, value in arrays.items()}
    evaluation = score(
        **arrays,
        classes=classes,
        multi_label=multi_label,
        thresholds=thresholds,
        groups=[row // 2 for row in range(n_images)],
        n_resamples=20,
    )
    settings: dict[str, Any] = {
        "title": "Brain MRI",
        "card": make_card(),
        "command": "medlora train data --rank 4",
        "history": make_history(3),
        "evaluation": evaluation.to_dict(),
        "classes": classes,
        "multi_label": multi_label,
        "locations": tuple(f"test/{row}.png" for row in range(n_images)),
    }
    return ReportContent(**(settings | arrays | changes))


def make_mistakes(n_mistakes: int, true: str = "glioma") -> list[Mistake]:
    """Pictures of noise, which compress worst."""
    pixels = np.random.default_rng(3).integers(0, 256, (3, 200, 200), dtype=np.uint8)
    pixels[1:] = pixels[0]
    return [
        Mistake(thumbnail(np.roll(pixels, index, axis=2)), true, "none", 0.875, f"a/{index}.png")
        for index in range(n_mistakes)
    ]


@pytest.fixture(scope="session")
def content_maker() -> Callable[..., ReportContent]:
    return make_content


@pytest.fixture(scope="session")
def full_content() -> ReportContent:
    """Four classes with all that a report can show."""
    whole = make_content()
    unseen = score(
        whole.probabilities[:40],
        whole.targets[:40],
        classes=FOUR,
        multi_label=False,
        thresholds=[0.25] * 4,
        n_resamples=20,
    )
    return make_content(
        evaluation_unseen=unseen.to_dict(),
        mistakes=make_mistakes(20),
        warnings=["The network answers none for 90 % of the images."],
        n_skipped=2,
    )


@pytest.fixture(scope="session")
def full_page(full_content: ReportContent) -> str:
    return render_report(full_content)


@pytest.fixture(scope="session")
def hostile_content() -> ReportContent:
    """Every text from outside tries to break out of the page."""
    evil = "<script>alert('x')</script>"
    classes = (evil, 'a" onload="x', "$\\frac{1}{2}$ & 肺炎", "line\nbreak\x00\ufffe")
    card = make_card(
        name=evil,
        classes=list(classes),
        note=f"{evil}\n\ud800second line",
        software={evil: evil},
        data={evil: {evil: {evil: 1}}},
        created=evil,
        backbone={"name": evil, "fingerprint": evil},
    )
    return make_content(
        classes,
        title=evil,
        card=card,
        command=f"medlora train '{evil}' \udcff",
        mistakes=make_mistakes(1, true=evil),
        warnings=[evil, '"><img src=https://example.org/x.png>'],
    )


@pytest.fixture(scope="session")
def hostile_page(hostile_content: ReportContent) -> str:
    return render_report(hostile_content)


@pytest.fixture(scope="session")
def label_content() -> ReportContent:
    """Fourteen labels, the last of which no image has; no epochs, no mistakes, no card."""
    generator = np.random.default_rng(5)
    classes = tuple(f"finding {number}" for number in range(14))
    targets = generator.random((80, 14)) < 0.3
    targets[:, 13] = False
    probabilities = 0.6 * generator.random((80, 14)) + 0.4 * targets
    return make_content(
        classes,
        80,
        multi_label=True,
        targets=targets,
        probabilities=probabilities,
        history=[],
        card={},
        split="val",
    )


@pytest.fixture(scope="session")
def label_page(label_content: ReportContent) -> str:
    return render_report(label_content)
