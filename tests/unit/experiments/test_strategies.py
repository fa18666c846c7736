"""All strategies answer alike, and as each task's own model does."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from deployment_samples import BACKBONE, CPU, make_settings, write_setting
from medlora.backbones.weights import load_backbone
from medlora.data.image import normalise_batch
from medlora.errors import TaskFileError
from medlora.experiments.deployment_files import CLASS_COUNTS
from medlora.experiments.strategies import BUILDERS, Setting, SwitchedAdapter
from medlora.experiments.turns import Turn, TurnTaker
from medlora.task.file import Task, load_task, save_task
from medlora.task.opening import build_model, compute_probabilities

WORKLOAD = make_settings().workload
SHUFFLED = Turn("shuffled", 8, 0)


@pytest.fixture(scope="module")
def setting(tmp_path_factory) -> Setting:
    return write_setting(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def pixels(setting) -> Tensor:
    return WORKLOAD.draw_pixels(load_backbone(BACKBONE, "random").preprocessing.size)


@pytest.fixture(scope="module")
def expected(setting, pixels) -> dict[tuple[int, int], tuple[float, ...]]:
    """What each task's own unmerged model says about each image, by (task, image)."""
    backbone = load_backbone(BACKBONE, setting.files.backbone)
    answers = {}
    for number, path in enumerate(setting.files.tasks):
        task = load_task(path)
        model = build_model(task, backbone, place=str(path))
        with torch.inference_mode():
            logits = model(normalise_batch(pixels, task.card.preprocessing))
        values = compute_probabilities(logits, multi_label=task.card.multi_label)
        for image, row in enumerate(values.tolist()):
            answers[number, image] = tuple(row)
    return answers


@pytest.mark.parametrize("name", BUILDERS)
def test_it_answers_as_the_tasks_own_models(name, setting, pixels, expected) -> None:
    strategy = BUILDERS[name](setting)
    taker = TurnTaker(strategy, WORKLOAD, pixels, CPU)
    for _ in range(2):
        answers = taker.take(SHUFFLED).answers
        assert sorted(answers) == list(range(WORKLOAD.n_images))
        for image, task in enumerate(WORKLOAD.tasks):
            only = strategy.fixed_task
            wanted = expected[task if only is None else only, image]
            assert answers[image] == pytest.approx(wanted, abs=1e-5)


def test_adapters_and_heads_of_different_tasks_answer_differently(
    setting, pixels, expected
) -> None:
    """Else the test above would not see an adapter that stays when it should be switched."""
    strategy = SwitchedAdapter(setting)
    strategy.switch(0)
    strategy.active = 2
    image = [pixels[0]]
    mixed_up = strategy.answer(image, [2])[0]
    assert mixed_up != pytest.approx(expected[2, 0], abs=1e-4)
    assert expected[0, 0] != pytest.approx(expected[2, 0], abs=1e-4)


def test_parameters_are_counted_as_they_are_held(setting) -> None:
    counts = {name: build(setting).n_parameters for name, build in BUILDERS.items()}
    backbone = load_backbone(BACKBONE, "random")
    heads = [(backbone.n_features + 1) * n_classes for n_classes in CLASS_COUNTS]
    adapters = [
        sum(
            tensor.numel()
            for name, tensor in load_task(path).tensors.items()
            if ".B" in name or ".A" in name
        )
        for path in setting.files.tasks
    ]
    n_backbone = backbone.n_parameters
    assert counts["plain"] == counts["reloaded"] == counts["merged"] == n_backbone + heads[0]
    assert counts["held"] == 4 * n_backbone + sum(heads)
    assert counts["mixed"] == n_backbone + sum(adapters) + sum(heads)
    # The active copy lies in the network's own layers.
    assert counts["switched"] == counts["mixed"] + adapters[0]


def test_in_half_precision_answers_stay_close(tmp_path, pixels, expected) -> None:
    setting = write_setting(tmp_path, torch.bfloat16)
    for name in ("held", "switched", "mixed"):
        strategy = BUILDERS[name](setting)
        answers = TurnTaker(strategy, WORKLOAD, pixels, CPU).take(SHUFFLED).answers
        for image, task in enumerate(WORKLOAD.tasks):
            assert answers[image] == pytest.approx(expected[task, image], abs=3e-2), name


def test_a_task_without_an_adapter_cannot_be_switched_to(tmp_path: Path, setting) -> None:
    task = load_task(setting.files.tasks[0])
    card = replace(task.card, method="linear", adapter=None)
    heads = {name: tensor for name, tensor in task.tensors.items() if name.startswith("head.")}
    path = tmp_path / "linear.safetensors"
    save_task(path, Task(card, heads))
    files = replace(setting.files, tasks=(path,))
    with pytest.raises(TaskFileError, match="Task 'task 0' has no adapter to switch to"):
        SwitchedAdapter(replace(setting, files=files))
