import numpy as np
import pytest
import torch

from bank_samples import make_task
from medlora.evaluate.answers import answer_batch, answer_rows, describe_rows
from medlora.evaluate.novelty import NoveltyMeasure
from medlora.evaluate.predict import convert_logits, predict_batch
from medlora.task.ensemble import EnsembleModel
from medlora.task.file import Task
from medlora.task.model import TaskModel
from medlora.task.opening import build_model
from novelty_samples import describe, keep_novelty
from tests.unit.task.model_samples import VIT, draw_backbone

PLACE = "blocks.2"


class Memory:
    """Prepared images by their row."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def read(self, rows: list[int]) -> torch.Tensor:
        return self.images[rows]


def make_tasks() -> list[Task]:
    backbone = draw_backbone(VIT)
    plain = [
        make_task(backbone, "adapted", seed=1),
        make_task(backbone, "linear", method="linear", seed=2),
    ]
    return [keep_novelty(task, backbone) for task in plain]


def open_all(tasks: list[Task]) -> tuple[list[TaskModel], list[NoveltyMeasure]]:
    models = [build_model(task, draw_backbone(VIT), place="memory") for task in tasks]
    measures = [NoveltyMeasure.read(task, "memory") for task in tasks]
    return models, [measure for measure in measures if measure is not None]


def draw_images(n_images: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    shape = (n_images, 3, *draw_backbone(VIT).preprocessing.size)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def test_a_score_comes_with_the_same_probabilities_in_one_pass() -> None:
    tasks = make_tasks()
    models, measures = open_all(tasks)
    preprocessing, images = tasks[0].card.preprocessing, draw_images()
    n_passes = []
    models[0].network.register_forward_hook(lambda *_: n_passes.append(1))
    found = answer_batch(models[0], images, preprocessing, measures=measures[:1])
    assert len(n_passes) == 1
    expected = predict_batch(models[0], images, preprocessing, multi_label=False)
    assert np.array_equal(convert_logits(found.logits, multi_label=False), expected)
    scores = measures[0].score(describe(tasks[0], draw_backbone(VIT), images, PLACE))
    assert found.novelty is not None
    assert np.allclose(found.novelty, scores)
    plain = answer_batch(models[0], images, preprocessing)
    assert plain.novelty is None
    assert np.array_equal(plain.logits, found.logits)


def test_an_ensemble_gives_the_mean_of_its_members_scores() -> None:
    tasks = make_tasks()
    models, measures = open_all(tasks)
    preprocessing, images = tasks[0].card.preprocessing, draw_images()
    ensemble = EnsembleModel(models, multi_label=False).eval()
    found = answer_batch(ensemble, images, preprocessing, measures=measures)
    expected = predict_batch(ensemble, images, preprocessing, multi_label=False)
    given = convert_logits(found.logits, multi_label=False)
    assert np.allclose(given, expected, atol=1e-7)
    scores = [
        measure.score(describe(task, draw_backbone(VIT), images, PLACE))
        for task, measure in zip(tasks, measures, strict=True)
    ]
    assert found.novelty is not None
    assert np.allclose(found.novelty, np.mean(scores, axis=0))


@pytest.mark.parametrize("batch_size", [2, 32])
def test_rows_are_answered_in_their_order(batch_size: int) -> None:
    tasks = make_tasks()
    models, measures = open_all(tasks)
    images = draw_images()
    preprocessing = tasks[0].card.preprocessing
    steps = []
    found = answer_rows(
        models[0],
        Memory(images),
        [4, 0, 2],
        preprocessing,
        measures=measures[:1],
        batch_size=batch_size,
        progress=lambda stage, done, total, **_: steps.append((stage, done, total)),
    )
    chosen = images[[4, 0, 2]]
    expected = answer_batch(models[0], chosen, preprocessing, measures=measures[:1])
    assert np.allclose(found.logits, expected.logits, atol=1e-4)
    assert found.novelty is not None
    assert expected.novelty is not None
    assert np.allclose(found.novelty, expected.novelty, rtol=1e-4)
    assert steps[-1] == ("predicting", 3, 3)


def test_no_rows_give_no_answers() -> None:
    tasks = make_tasks()
    models, _ = open_all(tasks)
    found = answer_rows(
        models[0],
        Memory(draw_images()),
        [],
        tasks[0].card.preprocessing,
        measures=(),
    )
    assert found.logits.shape == (0, 2)
    assert found.novelty is None


@pytest.mark.parametrize("place", [PLACE, "behind"])
def test_rows_are_described_as_one_batch_would_be(place: str) -> None:
    task = make_tasks()[0]
    ((model, _), _) = open_all(make_tasks())
    images = draw_images()
    preprocessing = task.card.preprocessing
    found = describe_rows(model, Memory(images), [3, 1, 2], preprocessing, place, batch_size=2)
    expected = describe(task, draw_backbone(VIT), images[[3, 1, 2]], place)
    assert np.allclose(found, expected.numpy(), atol=1e-5)
