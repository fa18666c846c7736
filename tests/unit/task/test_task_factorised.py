from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from medlora.backbones.fingerprint import compute_fingerprint
from medlora.backbones.weights import Backbone, load_backbone
from medlora.errors import BackboneError, TargetError, TaskFileError
from medlora.lora.factorised import find_factorised
from medlora.task.card import BackboneReference
from medlora.task.factorised import plan_factorised
from medlora.task.file import Task, convert_task, pack_task, unpack_task
from medlora.task.layout import count_values
from medlora.task.model import TaskModel
from medlora.task.opening import build_model, record_self_check, run_self_check
from medlora.task.records import FactorisedSettings
from tests.unit.task.model_samples import (
    draw_backbone,
    draw_images,
    plan_on_meta,
    randomise,
)
from tests.unit.task.task_samples import make_card

NAME = "vgg11.features"
LAYERS = {"pre_logits.fc1": (25088, 4096), "pre_logits.fc2": (4096, 4096)}


def draw_convolutions() -> Backbone:
    backbone = draw_backbone(NAME)
    return replace(backbone, preprocessing=replace(backbone.preprocessing, size=(64, 64)))


def make_model(n_classes: int = 4, rank: int = 8, **changes: Any) -> TaskModel:
    backbone = draw_convolutions()
    dropout = changes.pop("dropout", 0.0)
    factorised = plan_factorised(backbone, rank=rank, dropout=dropout)
    torch.manual_seed(1)
    return TaskModel(
        backbone, n_classes, **({"method": "factorised", "factorised": factorised} | changes)
    )


def make_task(model: TaskModel, rank: int = 8) -> Task:
    backbone = draw_convolutions()
    n_classes = model.head.out_features
    card = make_card(
        classes=tuple("abcdefgh"[:n_classes]),
        method="factorised",
        backbone=BackboneReference(NAME, backbone.fingerprint),
        preprocessing=backbone.preprocessing,
        adapter=None,
        factorised=plan_factorised(backbone, rank=rank),
        thresholds=(0.5,) * n_classes,
        self_check=None,
    )
    return Task(card, model.collect_tensors())


@pytest.mark.parametrize("name", ["vgg16.features", "vgg16_seed.features"])
def test_the_paper_s_layers_have_so_many_parameters(name: str) -> None:
    backbone = plan_on_meta(name)
    factorised = plan_factorised(backbone, rank=8)
    with torch.device("meta"):
        model = TaskModel(backbone, 4, method="factorised", factorised=factorised)
    shapes = {key: value.shape for key, value in model.named_trainable().items()}
    assert count_values(shapes) == {
        "U and V": (25088 + 4096) * 8 + (4096 + 4096) * 8,
        "biases": 4096 + 4096,
        "head": 4096 * 4 + 4,
    }


def test_what_is_trained_is_named_and_the_convolutions_are_not() -> None:
    model = make_model(rank=3)
    named = model.named_trainable()
    assert {name: tuple(value.shape) for name, value in named.items()} == {
        "factorised.pre_logits.fc1.U": (25088, 3),
        "factorised.pre_logits.fc1.V": (3, 4096),
        "factorised.pre_logits.fc1.bias": (4096,),
        "factorised.pre_logits.fc2.U": (4096, 3),
        "factorised.pre_logits.fc2.V": (3, 4096),
        "factorised.pre_logits.fc2.bias": (4096,),
        "head.weight": (4, 4096),
        "head.bias": (4,),
    }
    trainable = {id(value) for value in model.parameters() if value.requires_grad}
    assert trainable == {id(value) for value in named.values()}
    frozen = {k: v for k, v in model.network.state_dict().items() if k.startswith("features.")}
    assert compute_fingerprint(frozen) == draw_convolutions().fingerprint
    assert not any(value.is_meta for value in model.state_dict().values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_layer_learns_and_the_backbone_does_not(dtype: torch.dtype) -> None:
    model = make_model(dtype=dtype).train()
    images = draw_images(2, 64)
    logits = model(images)
    assert logits.dtype == torch.float32
    parameters = model.named_trainable()
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.01)
    nn.functional.cross_entropy(logits, torch.tensor([0, 2])).backward()
    assert not [name for name, value in parameters.items() if not value.grad.any()]
    optimizer.step()
    assert not model(images).equal(logits)
    backbone = draw_convolutions()
    assert compute_fingerprint(backbone.model.state_dict()) == backbone.fingerprint


def test_the_network_can_be_cut_behind_the_convolutions() -> None:
    model = randomise(make_model()).eval()
    images = draw_images(2, 64)
    # Another layout of the same numbers is computed in another order, and rounds differently.
    laid_out = images.to(memory_format=torch.channels_last)
    maps = model.network.get_submodule("features")(laid_out)
    assert model.cut is not None
    assert model.cut.place == "pre_logits"
    assert model.start(images).equal(maps)
    assert model(maps, is_started=True).equal(model(images))
    behind = model.network.get_submodule("pre_logits")(maps).flatten(1)
    assert behind.equal(model.extract_features(images))


def test_dropout_is_active_in_training_alone() -> None:
    model = make_model(dropout=0.5)
    images = draw_images(2, 64)
    first, second = model.train()(images), model(images)
    assert not first.equal(second)
    assert model.eval()(images).equal(model(images))


@torch.no_grad()
def test_what_the_head_gets_is_dropped_as_well() -> None:
    model, images = make_model(dropout=0.5).train(), draw_images(2, 64)
    for layer in find_factorised(model.network).values():
        layer.dropout = torch.nn.Identity()
    features = model.extract_features(images)
    assert features.equal(model.extract_features(images))
    assert not model.classify(features).equal(model.classify(features))
    assert model.eval().classify(features).equal(model.head(features))


@torch.no_grad()
def test_inputs_are_normalised_before_the_first_layer_alone_and_in_the_loaded_task() -> None:
    backbone = draw_convolutions()
    factorised = plan_factorised(backbone, rank=8, input_norm="rms")
    model = randomise(make_model(factorised=factorised)).eval()
    layers = find_factorised(model.network)
    assert [(name, layer.normalises) for name, layer in layers.items()] == [
        ("pre_logits.fc1", True),
        ("pre_logits.fc2", False),
    ]
    task = make_task(model)
    loaded = unpack_task(
        pack_task(replace(task, card=replace(task.card, factorised=factorised))), "x"
    )
    images = draw_images(2, 64)
    answers = build_model(loaded, backbone, place="x")(images)
    assert answers.equal(model(images))
    plain = build_model(task, backbone, place="x")(images)
    assert not torch.allclose(plain, answers, atol=1e-3)


@torch.no_grad()
def test_a_task_file_gives_the_same_answers_and_is_small() -> None:
    backbone = draw_convolutions()
    model = randomise(make_model()).eval()
    task = make_task(model)
    content = pack_task(task)
    assert len(content) < 1.31e6
    loaded = unpack_task(content, "x")
    assert loaded.card == task.card
    images = draw_images(2, 64)
    assert build_model(loaded, backbone, place="x")(images).equal(model(images))
    assert len(pack_task(convert_task(task, "float16"))) < 0.66e6
    check = record_self_check(model, backbone.preprocessing, multi_label=False)
    checked = Task(replace(task.card, self_check=check), task.tensors)
    assert run_self_check(checked, backbone, place="x") < 1e-5


def test_other_weights_are_another_backbone() -> None:
    task = make_task(make_model())
    other = load_backbone(NAME, "random", seed=9)
    with pytest.raises(TaskFileError, match=r"was trained on backbone vgg11\.features@"):
        build_model(task, other, place="x")


def test_settings_that_do_not_fit_the_backbone_are_refused() -> None:
    backbone = draw_convolutions()
    with pytest.raises(TargetError, match="factorised needs its settings"):
        make_model(factorised=None)
    for layers, message in (
        ({"pre_logits.fc1": (25088, 4096)}, r"\(2\), and no others; 'pre_logits\.fc2' is the"),
        (LAYERS | {"head.fc": (1, 2)}, r"'head\.fc' is the difference"),
        (LAYERS | {"pre_logits.fc2": (5, 4096)}, r"maps 4096 values to 4096, not 5 to 4096"),
    ):
        with pytest.raises(TargetError, match=message):
            make_model(factorised=FactorisedSettings(8, 0.0, layers))
        card = replace(make_task(make_model()).card, factorised=FactorisedSettings(8, 0.0, layers))
        with pytest.raises(TaskFileError, match=message):
            build_model(Task(card, make_model().collect_tensors()), backbone, place="x")


def test_only_a_vgg_without_its_connected_layers_can_have_them_factorised() -> None:
    with pytest.raises(BackboneError, match=r"No fully connected layers were left out.*vgg16\.f"):
        plan_factorised(plan_on_meta("vgg11"), rank=8)
