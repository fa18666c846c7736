"""Heat maps beside the mistakes of a report."""

import sys
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from heat_map_samples import CONVOLUTIONS, make_model
from medlora.backbones.weights import load_backbone
from medlora.data.source import FolderSource
from medlora.data.table import ImageTable
from medlora.evaluate.metrics import decide
from medlora.evaluate.predict import predict_batch
from medlora.runs.mistake_maps import add_heat_maps, find_wrong_class
from medlora.runs.scoring import pick_mistakes, score_rows

N_IMAGES = 6
PREPROCESSING = load_backbone(CONVOLUTIONS, "random", seed=1).preprocessing

CARD = SimpleNamespace(preprocessing=PREPROCESSING)


class Reader:
    def __init__(self) -> None:
        shape = (N_IMAGES, 3, *PREPROCESSING.size)
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    def read(self, rows):
        return self.images[list(rows)]


def make_case(*, multi_label: bool = False, name: str = CONVOLUTIONS):
    model, reader = make_model(name), Reader()
    probabilities = predict_batch(model, reader.images, PREPROCESSING, multi_label=multi_label)
    decisions = decide(probabilities, (0.5,) * 3, multi_label)
    # Nothing is right: a label too many or too few, or the next class.
    targets = ~decisions if multi_label else np.roll(decisions, 1, axis=1)
    table = ImageTable(
        locations=tuple(f"{number}.png" for number in range(N_IMAGES)),
        classes=("a", "b", "c"),
        targets=targets,
        multi_label=multi_label,
        splits=("test",) * N_IMAGES,
        patients=(None,) * N_IMAGES,
        source=FolderSource(__file__),  # type: ignore[arg-type]  # nothing is read
        name="drawn",
    )
    scores = score_rows(
        table,
        np.arange(N_IMAGES)[::-1],
        probabilities[::-1],
        thresholds=(0.5,) * 3,
        seen=np.zeros(N_IMAGES, dtype=bool),
        n_resamples=0,
    )
    return model, reader, table, scores


@pytest.mark.parametrize("multi_label", [False, True])
def test_each_mistake_gets_its_own_map(multi_label) -> None:
    model, reader, table, scores = make_case(multi_label=multi_label)
    mistakes = pick_mistakes(table, scores, reader, n_mistakes=3)
    shown, (section,) = add_heat_maps(mistakes, table, scores, reader, model, CARD)
    assert [each.location for each in shown] == [each.location for each in mistakes]
    pictures = []
    for mistake in shown:
        with (
            Image.open(BytesIO(mistake.heat_map)) as mapped,
            Image.open(BytesIO(mistake.thumbnail)) as plain,
        ):
            assert mapped.size == plain.size
            pictures.append(np.asarray(mapped.convert("RGB")).astype(int))
            assert np.abs(pictures[-1] - np.asarray(plain.convert("RGB"))).max() > 50
    assert not (pictures[0] == pictures[1]).all()
    assert section.anchor == "heat-maps"
    assert "Grad-CAM" in section.blocks[0].text


def test_the_class_explained_is_the_one_that_was_wrong() -> None:
    _, _, table, scores = make_case()
    for place in range(N_IMAGES):
        assert scores.decisions[place, find_wrong_class(table, scores, place)]
    _, _, table, scores = make_case(multi_label=True)
    for place, row in enumerate(scores.rows):
        wrong = find_wrong_class(table, scores, place)
        assert scores.decisions[place, wrong] != table.targets[row, wrong]


def test_a_missing_package_is_said_in_one_line(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    model, reader, table, scores = make_case()
    mistakes = pick_mistakes(table, scores, reader, n_mistakes=2)
    shown, (section,) = add_heat_maps(mistakes, table, scores, reader, model, CARD)
    assert shown == mistakes
    (line,) = section.blocks
    assert line.text.startswith("No heat map was drawn: Grad-CAM and integrated gradients take")
    assert "pip install 'medlora[explain]'" in line.text
    assert "\n" not in line.text


def test_without_mistakes_there_is_nothing_to_say() -> None:
    model, reader, table, scores = make_case()
    assert add_heat_maps([], table, scores, reader, model, CARD) == ([], ())
