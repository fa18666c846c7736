from typing import Any

import pytest
import torch
from torch import nn

from medlora.backbones.fingerprint import compute_fingerprint
from medlora.errors import TargetError, TaskFileError
from medlora.lora.attach import count_parameters, find_adapters
from medlora.task.model import TaskModel, plan_adapter
from medlora.task.records import AdapterSettings
from medlora.task.trained import find_normalisations
from tests.unit.task.model_samples import (
    RESNET,
    VIT,
    draw_backbone,
    draw_images,
    make_model,
    plan_on_meta,
    randomise,
)


def count_trainable(name: str) -> int:
    backbone = plan_on_meta(name)
    adapter = plan_adapter(backbone, rank=4, alpha=4.0)
    with torch.device("meta"):
        model = TaskModel(backbone, 2, method="lora", adapter=adapter)
    return count_parameters(model.named_trainable())


def test_a_vit_base_of_rank_4_trains_148_994_parameters() -> None:
    assert count_trainable("vit_base_patch16_224") == 148_994


def test_a_vit_giga_of_rank_4_trains_1_22_mebi_parameters() -> None:
    n_trainable = count_trainable("vit_gigantic_patch14_clip_224")
    assert n_trainable == 48 * 2 * 4 * (1664 + 1664) + 1664 * 2 + 2
    assert round(n_trainable / 2**20, 2) == 1.22


@pytest.mark.parametrize(
    ("method", "trained", "prefixes"),
    [
        ("lora", (), {"adapter", "head"}),
        ("lora", ("norm.weight",), {"adapter", "head", "trained"}),
        ("linear", (), {"head"}),
        ("full", (), {"head", "trained"}),
    ],
)
def test_what_is_trainable_is_named_and_nothing_else_is_trained(
    method: Any, trained: tuple[str, ...], prefixes: set[str]
) -> None:
    model = make_model(VIT, method, trained=trained)
    named = model.named_trainable()
    assert {name.partition(".")[0] for name in named} == prefixes
    trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert {id(parameter) for parameter in named.values()} == trainable
    assert all(parameter.requires_grad for parameter in named.values())
    assert {parameter.dtype for parameter in named.values()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", ["lora", "linear", "full"])
def test_logits_are_float32(method: Any, dtype: torch.dtype) -> None:
    model = make_model(RESNET, method, n_classes=3, dtype=dtype)
    logits = model(draw_images())
    assert logits.shape == (2, 3)
    assert logits.dtype == torch.float32
    exact = make_model(RESNET, method, n_classes=3)(draw_images())
    assert (logits - exact).abs().max() < 0.05 * exact.abs().max()


def test_the_head_computes_in_float32_inside_autocast() -> None:
    model = make_model(RESNET, "linear")
    features = torch.randn(4, draw_backbone().n_features, generator=torch.Generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = model.classify(features)
    assert inside.equal(model.classify(features))


def test_frozen_tensors_are_shared_in_float32_and_held_once_in_bfloat16() -> None:
    backbone = draw_backbone()
    own = {p.data_ptr() for p in backbone.model.parameters()}
    shared = make_model().network
    assert {p.data_ptr() for p in shared.parameters() if not p.requires_grad} == own
    narrow = make_model(dtype=torch.bfloat16).network
    assert {p.dtype for p in narrow.parameters() if not p.requires_grad} == {torch.bfloat16}


def test_training_mode_wakes_only_the_dropout_of_the_low_rank_path() -> None:
    model = make_model(VIT, dropout=0.3).train()
    awake = {name for name, module in model.network.named_modules() if module.training}
    assert awake == {f"{name}.dropout" for name in find_adapters(model.network)}
    assert len(awake) == len(find_adapters(model.network)) > 0
    assert model.training
    assert model.head.training
    model.eval()
    assert not any(module.training for module in model.modules())


def test_dropout_of_the_low_rank_path_draws_in_training_only() -> None:
    model = make_model(VIT, dropout=0.3)
    images = draw_images()
    torch.manual_seed(0)
    first, second = model.train()(images), model(images)
    assert not first.equal(second)
    model.eval()
    assert model(images).equal(model(images))
    assert model(images).equal(make_model(VIT).eval()(images))


def test_full_training_trains_every_module() -> None:
    model = make_model(RESNET, "full").train()
    assert all(module.training for module in model.modules())


def test_full_training_leaves_the_backbone_alone() -> None:
    backbone = draw_backbone()
    model = make_model(RESNET, "full").train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(draw_images()).square().sum().backward()
    optimizer.step()
    assert compute_fingerprint(model.network.state_dict()) != backbone.fingerprint
    assert compute_fingerprint(backbone.model.state_dict()) == backbone.fingerprint


def test_tensors_of_a_full_task_include_its_statistics() -> None:
    model = make_model(RESNET, "full").train()
    before = model.collect_tensors()
    model(draw_images())
    after = model.collect_tensors()
    changed = {name for name in after if not after[name].equal(before[name])}
    assert changed
    assert {name.rpartition(".")[2] for name in changed} == {"running_mean", "running_var"}
    assert "trained.bn1.running_mean" in changed


@pytest.mark.parametrize("name", [RESNET, VIT])
@pytest.mark.parametrize("method", ["lora", "linear", "full"])
def test_tensors_that_are_collected_can_be_loaded(name: str, method: Any) -> None:
    trained = () if method == "full" else find_normalisations(draw_backbone(name).model)[:3]
    model = make_model(name, method, trained=trained)
    if method == "full":
        model.train()(draw_images())
        model.eval()
    other = randomise(make_model(name, method, trained=trained), seed=9)
    assert not other(draw_images()).equal(model(draw_images()))
    other.load_tensors(model.collect_tensors())
    assert other(draw_images()).equal(model(draw_images()))


def test_collected_tensors_are_copies() -> None:
    model = make_model()
    tensors = model.collect_tensors()
    for tensor in tensors.values():
        tensor.zero_()
    assert all(parameter.any() for parameter in model.named_trainable().values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head.bias": None}, "task lacks tensor 'head.bias'"),
        ({"adapter.conv9.A": torch.ones(2)}, "task has an odd tensor 'adapter.conv9.A'"),
        ({"head.bias": torch.ones(3)}, r"'head.bias' has shape \(3,\), this backbone needs \(2,\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named(changes: dict[str, Any], message: str) -> None:
    model = make_model()
    before = model.collect_tensors()
    tensors: dict[str, Any] = {name: torch.zeros_like(value) for name, value in before.items()}
    given = {name: value for name, value in (tensors | changes).items() if value is not None}
    with pytest.raises(TaskFileError, match=message):
        model.load_tensors(given)
    assert all(value.equal(before[name]) for name, value in model.collect_tensors().items())


def test_lora_needs_adapter_settings() -> None:
    with pytest.raises(TargetError, match="method lora needs adapter settings"):
        TaskModel(draw_backbone(), 2, method="lora")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("bn9.weight", "there is none"),
        ("bn1.running_mean", "there is none"),
        ("layer1.0.conv1.weight", "it carries an adapter"),
    ],
)
def test_a_parameter_that_cannot_be_trained_is_named(name: str, fault: str) -> None:
    with pytest.raises(TargetError, match=f"parameter '{name}' cannot be trained: {fault}"):
        make_model(trained=(name,))


@pytest.mark.parametrize("n_names", [1, None])
def test_trained_normalisations_start_from_the_backbone_s_own_values(n_names: int | None) -> None:
    """In float32 too beside frozen bfloat16, with their statistics and without its rounding."""
    backbone = draw_backbone()
    names = find_normalisations(backbone.model)[:n_names]
    model = make_model(dtype=torch.bfloat16, trained=names, randomised=False).train()
    own = dict(backbone.model.named_parameters())
    for name in names:
        value = model.named_trainable()[f"trained.{name}"]
        assert value.equal(own[name])
        assert value.data_ptr() != own[name].data_ptr()
    first = names[0].rpartition(".")[0]
    statistics = backbone.model.get_submodule(first).running_var
    assert isinstance(statistics, torch.Tensor)
    assert not statistics.equal(statistics.bfloat16().float())
    assert model.network.get_submodule(first).running_var.equal(statistics)
    model(draw_images()).sum().backward()
    for parameter in model.named_trainable().values():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_a_plan_names_the_default_layers() -> None:
    plan = plan_adapter(draw_backbone(VIT), rank=3, alpha=1.5, scaling="alpha/sqrt(rank)")
    layers = {f"blocks.{block}.attn.qkv": ("q", "v") for block in range(6)}
    assert plan == AdapterSettings(3, 1.5, "alpha/sqrt(rank)", 0.0, layers)


def test_a_plan_takes_patterns() -> None:
    plan = plan_adapter(draw_backbone(VIT), rank=3, alpha=1.0, targets=("blocks.0.mlp.*",))
    assert plan.layers == {"blocks.0.mlp.fc1": (), "blocks.0.mlp.fc2": ()}


def test_a_plan_for_no_layer_is_refused() -> None:
    with pytest.raises(TargetError, match="'nowhere' names no linear or convolutional layer"):
        plan_adapter(draw_backbone(VIT), rank=3, alpha=1.0, targets=("nowhere",))


def test_a_plan_with_an_unknown_scaling_is_refused() -> None:
    with pytest.raises(TaskFileError, match=r"adapter\.scaling"):
        plan_adapter(draw_backbone(VIT), rank=3, alpha=1.0, scaling="alpha")


def test_normalisations_are_found_by_their_parameters() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.BatchNorm2d(4),
        nn.Sequential(nn.GroupNorm(2, 4), nn.LayerNorm(4, bias=False)),
        nn.BatchNorm2d(4, affine=False),
    )
    assert find_normalisations(network) == (
        "1.weight",
        "1.bias",
        "2.0.weight",
        "2.0.bias",
        "2.1.weight",
    )
    assert find_normalisations(nn.LayerNorm(4)) == ("weight", "bias")


@pytest.mark.parametrize(("name", "is_last"), [(RESNET, True), (VIT, False)])
def test_convolutions_see_channels_last_and_answer_alike(name: str, is_last: bool) -> None:
    model, images = make_model(name), draw_images(2)
    seen = []
    model.network.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    with torch.inference_mode():
        features = model.extract_features(images)
        plain = model.network(images)
        model.start(images)
    assert seen == [is_last, False, is_last]
    assert (features - plain).abs().max() <= 1e-5 * plain.abs().max()
    assert torch.equal(features, plain) or is_last
