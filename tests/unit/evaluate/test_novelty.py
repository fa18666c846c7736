"""The measure of what is unlike the training images, against a computation with full matrices."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from medlora.errors import TaskFileError, TrainingError
from medlora.evaluate.novelty import (
    MIN_IMAGES,
    NoveltyMeasure,
    fit_cloud,
    fit_training_images,
    is_unlike,
    pack_novelty,
)
from medlora.evaluate.novelty_limit import choose_limit
from medlora.task.file import Task, pack_task, unpack_task
from medlora.task.novelty import MAX_BYTES, count_bytes
from tests.unit.task.task_samples import make_card, make_novel_task, make_task

RNG = np.random.default_rng(0)


def draw_values(n_images: int, n_values: int, seed: int = 0) -> np.ndarray:
    """Values that vary along a few directions and a little in all others."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(3, n_values))
    return 5 + rng.normal(size=(n_images, 3)) @ mixing + 0.3 * rng.normal(size=(n_images, n_values))


def make_measure(n_train: int = 60, n_val: int = 40) -> NoveltyMeasure:
    cloud = fit_training_images(draw_values(n_train, 12))
    limit = choose_limit(cloud.measure(draw_values(n_val, 12, seed=7)))
    return NoveltyMeasure("blocks.1", cloud, limit.distance, "here")


def test_distances_are_those_of_the_whole_covariance() -> None:
    values, others = draw_values(200, 10), RNG.normal(size=(20, 10)) * 4
    cloud = fit_cloud(values, 4)
    deviation = values.std(axis=0)
    spread = np.maximum(deviation, 0.05 * np.sqrt((deviation**2).mean()))
    covariance = np.cov((values - values.mean(axis=0)) / spread, rowvar=False)
    strengths, vectors = np.linalg.eigh(covariance)
    # The six weakest directions share one variance.
    strengths[:6] = strengths[:6].mean()
    inverse = np.linalg.inv(vectors @ np.diag(strengths) @ vectors.T)
    centred = (others - values.mean(axis=0)) / spread
    expected = np.einsum("ij,jk,ik->i", centred, inverse, centred) / 10
    assert np.allclose(cloud.measure(others) ** 2, expected, rtol=2e-2)
    assert np.square(cloud.measure(values)).mean() == pytest.approx(1, abs=0.05)


def test_a_cloud_of_few_images_is_one_of_few_directions() -> None:
    assert len(fit_cloud(draw_values(5, 10), 32).directions) == 3
    assert len(fit_cloud(draw_values(50, 4), 32).directions) == 3
    assert len(fit_cloud(draw_values(2, 4), 32).directions) == 0


def test_values_that_never_vary_do_not_divide_by_nothing() -> None:
    values = np.ones((20, 6))
    found = fit_cloud(values, 3).measure(np.stack([values[0], values[0] + 1]))
    assert found[0] == 0
    assert 1 < found[1] < np.inf


def test_a_value_that_never_varied_does_not_outweigh_all_others() -> None:
    values = draw_values(100, 10)
    values[:, 3] = 0
    cloud = fit_cloud(values, 3)
    other = values[:1].copy()
    other[0, 3] = 0.05 * values[:, 4].std()
    assert 1 < cloud.measure(other)[0] < 3


def test_scores_are_multiples_of_the_limit() -> None:
    measure = make_measure(n_val=300)
    values = draw_values(300, 12, seed=11)
    scores = measure.score(torch.from_numpy(values))
    assert np.allclose(scores * measure.limit, measure.cloud.measure(values))
    assert np.mean([is_unlike(score) for score in scores]) < 0.1
    assert measure.score(torch.from_numpy(values + 20)).min() > 2


def test_what_is_kept_gives_the_same_scores_to_the_bit() -> None:
    cloud = fit_training_images(draw_values(60, 12))
    limit = choose_limit(cloud.measure(draw_values(40, 12, seed=7)))
    settings, tensors = pack_novelty(cloud, limit, place="blocks.1", n_train=60)
    card = make_card(method="linear", adapter=None, novelty=settings)
    head = {name: make_novel_task().tensors[name] for name in ("head.weight", "head.bias")}
    loaded = unpack_task(pack_task(Task(card, head | tensors)), "x")
    measure = NoveltyMeasure.read(loaded, "x")
    assert measure is not None
    assert measure.place == "blocks.1"
    values = torch.from_numpy(draw_values(10, 12, seed=3))
    expected = cloud.measure(values) / limit.distance
    assert np.array_equal(measure.score(values), expected)
    assert measure.n_bytes == count_bytes(settings.n_values, settings.n_directions)


def test_a_task_that_keeps_nothing_has_no_measure() -> None:
    assert NoveltyMeasure.read(make_task(), "x") is None


@pytest.mark.parametrize(("n_values", "n_kept"), [(8, 7), (1280, 32), (4096, 8), (12_000, 0)])
def test_as_many_directions_are_kept_as_there_is_room_for(n_values: int, n_kept: int) -> None:
    cloud = fit_training_images(draw_values(40, n_values))
    assert len(cloud.directions) == n_kept
    assert count_bytes(n_values, n_kept) <= MAX_BYTES


def test_descriptions_that_are_too_long_are_refused() -> None:
    with pytest.raises(TrainingError, match="in 13000 values cannot be kept in 100000 bytes"):
        fit_training_images(np.ones((MIN_IMAGES, 13_000)))


def test_too_few_images_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"7 training images are too few .* 8 are needed"):
        fit_training_images(draw_values(MIN_IMAGES - 1, 12))


@pytest.mark.parametrize("part", ["spread", "variances"])
def test_a_forged_file_does_not_divide_by_nothing(part: str) -> None:
    task = make_novel_task()
    task.tensors[f"novelty.{part}"][0] = 0
    with pytest.raises(TaskFileError, match=rf"'novelty.{part}' must be above 0"):
        NoveltyMeasure.read(task, "x")


def test_a_measure_is_read_from_a_file_without_directions() -> None:
    task = make_novel_task()
    assert task.card.novelty is not None
    card = replace(task.card, novelty=replace(task.card.novelty, n_directions=0))
    tensors = task.tensors | {"novelty.variances": torch.ones(1)}
    del tensors["novelty.directions"]
    measure = NoveltyMeasure.read(unpack_task(pack_task(Task(card, tensors)), "x"), "x")
    assert measure is not None
    assert measure.cloud.directions.shape == (0, 6)
    assert np.isfinite(measure.score(torch.ones(3, 6))).all()


def test_descriptions_of_another_network_are_refused() -> None:
    with pytest.raises(TaskFileError, match=r"here: .* by 12 values of 'blocks.1'"):
        make_measure().score(torch.ones(2, 13))
