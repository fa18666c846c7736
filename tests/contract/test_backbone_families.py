"""What every family of backbones owes: an adapter that starts as nothing, and stays apart."""

from typing import Any

import pytest
import torch
from torch import nn

from medlora.backbones.fingerprint import compute_fingerprint
from medlora.backbones.spec import find_memory_format
from medlora.lora.attach import find_adapters, merge_adapters
from medlora.task.card import BackboneReference, TaskCard
from medlora.task.file import Task, pack_task, unpack_task
from medlora.task.model import TaskModel, plan_adapter
from medlora.task.opening import build_model
from medlora.task.trained import find_normalisations
from tests.contract.family_samples import (
    SETTINGS,
    create_small,
    draw_backbone,
    draw_images,
    each_family,
    randomise,
)

DTYPES = [torch.float32, torch.bfloat16]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["fp32", "bf16"])
BATCH_NORMALISED = ("resnet18", "densenet121", "tf_efficientnet_lite0")


def make_model(
    name: str,
    dtype: torch.dtype = torch.float32,
    *,
    method: Any = "lora",
    trained: tuple[str, ...] = (),
    dropout: float = 0.0,
) -> TaskModel:
    backbone = draw_backbone(name)
    adapter = plan_adapter(backbone, rank=2, alpha=1.0, dropout=dropout)
    torch.manual_seed(2)
    return TaskModel(
        backbone,
        3,
        method=method,
        adapter=adapter if method == "lora" else None,
        dtype=dtype,
        trained=trained,
    )


def is_untouched(name: str) -> bool:
    backbone = draw_backbone(name)
    return compute_fingerprint(backbone.model.state_dict()) == backbone.fingerprint


@each_family
@torch.no_grad()
def test_the_width_of_the_features_is_known(name: str) -> None:
    backbone = draw_backbone(name)
    features = backbone.model(draw_images())
    assert features.shape == (2, backbone.n_features)
    assert features.isfinite().all()
    assert features[0].ne(features[1]).any()


@each_dtype
@each_family
@torch.no_grad()
def test_a_new_adapter_gives_the_backbone_s_features_bit_for_bit(
    name: str, dtype: torch.dtype
) -> None:
    model = make_model(name, dtype, dropout=0.5)
    assert find_adapters(model.network)
    images = draw_images()
    reference = create_reference(name).to(dtype)
    # Another layout of the same numbers is computed in another order, and rounds differently.
    layout = find_memory_format(reference)
    expected = reference(images.to(dtype, memory_format=layout)).float()
    assert model.eval().extract_features(images).equal(expected)
    assert model.train().extract_features(images).equal(expected)


def create_reference(name: str) -> nn.Module:
    """The plain network with the backbone's weights, built without our code for copying."""
    model = create_small(name)
    model.load_state_dict(draw_backbone(name).model.state_dict())
    return model.eval()


@each_dtype
@each_family
def test_every_matrix_has_an_effect_and_the_backbone_none_of_training(
    name: str, dtype: torch.dtype
) -> None:
    model = make_model(name, dtype)
    images = draw_images()
    before = model.extract_features(images).detach()
    buffers = {key: value.clone() for key, value in model.network.named_buffers()}
    randomise(model).train()
    parameters = model.named_trainable()
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.01, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        features = model.extract_features(images)
        assert not features.equal(before)
        nn.functional.cross_entropy(model.classify(features), torch.tensor([0, 2])).backward()
        still = [
            key
            for key, parameter in parameters.items()
            if parameter.grad is None or not parameter.grad.isfinite().all()
            or not parameter.grad.any()
        ]  # fmt: skip
        assert not still
        optimizer.step()
    assert is_untouched(name)
    assert all(value.equal(buffers[key]) for key, value in model.network.named_buffers())
    assert not [p for p in model.network.parameters() if p.grad is not None and not p.requires_grad]


@pytest.mark.parametrize("method", ["lora", "linear"])
@pytest.mark.parametrize("name", BATCH_NORMALISED)
@torch.no_grad()
def test_statistics_stay_frozen_in_training_mode(name: str, method: Any) -> None:
    model = make_model(name, method=method).train()
    first = model(draw_images())
    assert model(draw_images() * 3 + 1).isfinite().all()
    assert model(draw_images()).equal(first)
    assert is_untouched(name)
    plain = create_reference(name).train()
    before = compute_fingerprint(plain.state_dict())
    plain(draw_images())
    assert compute_fingerprint(plain.state_dict()) != before, "the network keeps no statistics"


@each_family
@torch.no_grad()
def test_merging_gives_the_same_features_from_a_copy(name: str) -> None:
    model = randomise(make_model(name)).eval()
    expected = model.extract_features(draw_images())
    state = {key: value.clone() for key, value in model.network.state_dict().items()}
    merged = merge_adapters(model.network)
    features = merged(draw_images())
    assert not find_adapters(merged)
    assert (features - expected).norm() <= 1e-5 * expected.norm()
    assert merged.state_dict().keys() == draw_backbone(name).model.state_dict().keys()
    assert all(value.equal(state[key]) for key, value in model.network.state_dict().items())
    assert is_untouched(name)


def reopen(model: TaskModel, name: str) -> TaskModel:
    """The model that comes back from the bytes of its task file."""
    backbone = draw_backbone(name)
    card = TaskCard(
        name="family",
        classes=("a", "b", "c"),
        multi_label=False,
        method=model.method,
        backbone=BackboneReference(name, backbone.fingerprint),
        preprocessing=backbone.preprocessing,
        adapter=plan_adapter(backbone, rank=2, alpha=1.0) if model.method == "lora" else None,
        thresholds=(0.3, 0.3, 0.3),
        created="2025-01-31T12:00:00+00:00",
    )
    content = pack_task(Task(card, model.collect_tensors()))
    return build_model(unpack_task(content, "x.safetensors"), backbone, place="x.safetensors")


# Normalisations are trained beside the adapter in every family; the rest depends on none.
TASKS = [
    *(pytest.param(name, "lora", True, id=f"{name}-normalisations") for name in SETTINGS),
    *(("resnet18", method, False) for method in ("lora", "linear", "full")),
    ("vit_tiny_patch16_224", "full", False),
]


@pytest.mark.parametrize(("name", "method", "normalisations"), TASKS)
@torch.no_grad()
def test_a_task_file_gives_the_same_answers(name: str, method: Any, normalisations: bool) -> None:
    trained = find_normalisations(draw_backbone(name).model) if normalisations else ()
    model = randomise(make_model(name, method=method, trained=trained))
    if method == "full":
        model.train()(draw_images())
    expected = model.eval()(draw_images())
    assert not expected.equal(make_model(name).eval()(draw_images()))
    assert reopen(model, name)(draw_images()).equal(expected)


@each_family
def test_normalisations_can_be_trained_beside_bfloat16(name: str) -> None:
    trained = find_normalisations(draw_backbone(name).model)
    model = randomise(make_model(name, torch.bfloat16, trained=trained)).train()
    logits = model(draw_images())
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.named_trainable().values())
    exact = randomise(make_model(name, trained=trained))(draw_images())
    assert (logits - exact).norm() <= 0.15 * exact.norm()
