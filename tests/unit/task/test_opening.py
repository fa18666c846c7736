import hashlib
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from medlora.data.image import normalise_batch
from medlora.errors import SelfCheckError, TaskFileError, WrongBackboneError
from medlora.preprocessing import Preprocessing
from medlora.task.file import Task, pack_task, unpack_task
from medlora.task.opening import (
    build_model,
    compute_probabilities,
    draw_check_images,
    record_self_check,
    run_self_check,
)
from medlora.task.records import AdapterSettings
from tests.unit.task.model_samples import (
    RESNET,
    VIT,
    draw_backbone,
    draw_images,
    make_model,
    make_model_task,
)

PLACE = "tb.safetensors"


def record_task(**changes: Any) -> Task:
    """A task with the answers that it gave when it was saved."""
    task = make_model_task(make_model(), **changes)
    model = build_model(task, draw_backbone(), place=PLACE)
    check = record_self_check(model, task.card.preprocessing, multi_label=task.card.multi_label)
    return Task(replace(task.card, self_check=check), task.tensors)


@pytest.mark.parametrize("method", ["lora", "linear", "full"])
def test_a_task_file_becomes_the_model_it_was(method: Any) -> None:
    model = make_model(RESNET, method).eval()
    task = unpack_task(pack_task(make_model_task(model)), PLACE)
    opened = build_model(task, draw_backbone(), place=PLACE)
    assert not any(module.training for module in opened.modules())
    assert opened.method == method
    assert opened(draw_images()).equal(model(draw_images()))


def test_trained_normalisations_are_opened_too() -> None:
    trained = ("bn1.weight", "layer1.0.bn2.bias")
    model = make_model(trained=trained).eval()
    opened = build_model(make_model_task(model), draw_backbone(), place=PLACE)
    assert set(opened.trained) == set(trained)
    assert opened(draw_images()).equal(model(draw_images()))


def test_a_model_is_opened_in_the_type_asked_for() -> None:
    model = make_model().eval()
    opened = build_model(make_model_task(model), draw_backbone(), place=PLACE, dtype=torch.bfloat16)
    assert opened.network.conv1[0].weight.dtype == torch.bfloat16
    expected = model(draw_images())
    assert (opened(draw_images()) - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("method", ["lora", "linear"])
def test_other_weights_of_the_same_architecture_are_refused(method: Any) -> None:
    other = draw_backbone(RESNET, seed=5)
    task = make_model_task(make_model(RESNET, method))
    expected, given = task.card.backbone.fingerprint[:6], other.fingerprint[:6]
    with pytest.raises(WrongBackboneError, match=rf"{RESNET}@{expected}; this is .*@{given}"):
        build_model(task, other, place=PLACE)


def test_a_fully_tuned_task_brings_its_own_weights() -> None:
    model = make_model(RESNET, "full").eval()
    opened = build_model(make_model_task(model), draw_backbone(RESNET, seed=5), place=PLACE)
    assert opened(draw_images()).equal(model(draw_images()))


@pytest.mark.parametrize("method", ["lora", "linear", "full"])
def test_another_architecture_is_refused(method: Any) -> None:
    with pytest.raises(WrongBackboneError, match=f"{RESNET}@.*this is {VIT}@"):
        build_model(make_model_task(make_model(RESNET, method)), draw_backbone(VIT), place=PLACE)


@pytest.mark.parametrize(
    ("changes", "layers", "message"),
    [
        ({"trained.bn9.weight": torch.ones(2)}, None, "'bn9.weight' cannot be trained"),
        ({"head.bias": None}, None, "lacks tensor 'head.bias'"),
        ({}, {"layer9.conv": ()}, "no layer 'layer9.conv'"),
        ({}, {"layer1.0.conv1": ("q",)}, "'layer1.0.conv1': A Conv2d cannot be adapted"),
    ],
)
def test_a_card_or_a_tensor_that_does_not_fit_is_an_error_of_the_file(
    changes: dict[str, Any], layers: dict[str, tuple[str, ...]] | None, message: str
) -> None:
    task = make_model_task(make_model())
    card = task.card
    if layers is not None:
        card = replace(card, adapter=AdapterSettings(2, 2.0, "alpha/rank", 0.0, layers))
    tensors: dict[str, Any] = task.tensors | changes
    kept: dict[str, Tensor] = {name: t for name, t in tensors.items() if t is not None}
    with pytest.raises(TaskFileError, match=rf"'tb-cxr' \({PLACE}\): .*{re.escape(message)}"):
        build_model(Task(card, kept), draw_backbone(), place=PLACE)


def test_probabilities_of_one_label_add_up_to_one() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 3.0**0.5], [1000.0, -1000.0]])
    found = compute_probabilities(logits, multi_label=False)
    assert found.dtype == torch.float64
    high = 1 / (1 + torch.exp(-logits[1, 1].double()))
    expected = torch.stack([torch.tensor([0.5, 0.5]), torch.stack([1 - high, high]),
                            torch.tensor([1.0, 0.0])]).double()  # fmt: skip
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)


def test_probabilities_of_several_labels_are_independent() -> None:
    found = compute_probabilities(torch.tensor([[0.0, 1.0, -1.0]]), multi_label=True)
    sigmoid = 1 / (1 + torch.exp(torch.tensor(-1.0).double()))
    expected = torch.stack([torch.tensor(0.5).double(), sigmoid, 1 - sigmoid])
    torch.testing.assert_close(found, expected[None], rtol=0, atol=1e-15)


def test_check_images_are_the_same_everywhere() -> None:
    preprocessing = Preprocessing((12, 20), (0.5,) * 3, (0.5,) * 3)  # type: ignore[arg-type]
    images = draw_check_images(7, 2, preprocessing)
    assert images.shape == (2, 3, 12, 20)
    assert images.dtype == torch.uint8
    digest = hashlib.sha256(images.numpy().tobytes()).hexdigest()
    assert digest[:12] == "93e7baf233ea"
    assert not images.equal(draw_check_images(8, 2, preprocessing))
    larger = Preprocessing((24, 40), (0.5,) * 3, (0.5,) * 3)  # type: ignore[arg-type]
    assert draw_check_images(7, 2, larger)[:, :, ::2, ::2].equal(images)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_task_passes_its_own_check(multi_label: bool) -> None:
    task = record_task(multi_label=multi_label)
    check = task.card.self_check
    assert check is not None
    images = draw_check_images(check.seed, check.n_images, task.card.preprocessing)
    with torch.no_grad():
        logits = make_model().eval()(normalise_batch(images, task.card.preprocessing))
    answers = compute_probabilities(logits, multi_label=multi_label)
    expected = torch.tensor(check.expected, dtype=torch.float64)
    assert (answers - expected).abs().max() < 1e-6
    assert expected[0].ne(expected[1]).all(), "both images have one answer: it shows little"
    reloaded = unpack_task(pack_task(task), PLACE)
    assert run_self_check(reloaded, draw_backbone(), place=PLACE) < 1e-6


@pytest.mark.parametrize("value", [1.0, torch.nan])
def test_a_task_that_answers_otherwise_is_refused(value: float) -> None:
    task = record_task()
    bias = task.tensors["head.bias"].clone()
    bias[0] += value
    changed = Task(task.card, task.tensors | {"head.bias": bias})
    with pytest.raises(
        SelfCheckError, match=rf"'tb-cxr' answers differently.* by (0\.\d+|nan), .*\({PLACE}\)"
    ):
        run_self_check(changed, draw_backbone(), place=PLACE)


def test_a_task_without_a_check_passes() -> None:
    assert run_self_check(make_model_task(make_model()), draw_backbone(), place=PLACE) == 0
