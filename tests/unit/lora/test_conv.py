from typing import Any

import pytest
import torch
from timm.layers import Conv2dSame, ScaledStdConv2d
from torch import Tensor, nn

from medlora.errors import SettingsError, TargetError
from medlora.lora.conv import LoRAConv2d

LAYERS: dict[str, tuple[type[nn.Conv2d], dict[str, Any]]] = {
    "3x3": (nn.Conv2d, {"kernel_size": 3, "padding": 1}),
    "1x1": (nn.Conv2d, {"kernel_size": 1}),
    "5x2 strided": (nn.Conv2d, {"kernel_size": (5, 2), "stride": (2, 3), "padding": (2, 0)}),
    "dilated": (nn.Conv2d, {"kernel_size": 3, "dilation": 2, "padding": 2}),
    "grouped": (nn.Conv2d, {"kernel_size": 3, "groups": 2}),
    "depthwise": (nn.Conv2d, {"kernel_size": 3, "groups": 4, "padding": 1}),
    "no bias": (nn.Conv2d, {"kernel_size": 3, "bias": False}),
    "padding same": (nn.Conv2d, {"kernel_size": 5, "padding": "same"}),
    "padding by reflection": (
        nn.Conv2d,
        {"kernel_size": 3, "padding": 2, "padding_mode": "reflect"},
    ),
    "timm's same": (Conv2dSame, {"kernel_size": 3, "stride": 2}),
    "timm's same, grouped": (Conv2dSame, {"kernel_size": 5, "stride": 2, "groups": 2}),
}
each_layer = pytest.mark.parametrize("name", LAYERS)


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def make_base(name: str, dtype: torch.dtype = torch.float32) -> nn.Conv2d:
    kind, settings = LAYERS[name]
    base = kind(4, 8, **settings).to(dtype)
    with torch.no_grad():
        for seed, parameter in enumerate(base.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=seed))
    return base


def make_layer(name: str, dtype: torch.dtype = torch.float32, **changes: Any) -> LoRAConv2d:
    settings: dict[str, Any] = {"rank": 2, "alpha": 3.0}
    return LoRAConv2d(make_base(name, dtype), **(settings | changes))


def randomise(layer: LoRAConv2d) -> LoRAConv2d:
    with torch.no_grad():
        layer.lora_A.copy_(draw(*layer.lora_A.shape, seed=10))
        layer.lora_B.copy_(draw(*layer.lora_B.shape, seed=11))
    return layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@each_layer
def test_a_new_layer_is_its_base(name: str, dtype: torch.dtype) -> None:
    layer = make_layer(name, dtype)
    inputs = draw(2, 4, 11, 9, dtype=dtype)
    assert layer(inputs).equal(layer.base(inputs))
    assert layer.lora_A.count_nonzero() > 0


@each_layer
def test_the_update_is_a_convolution_with_its_product(name: str) -> None:
    layer = randomise(make_layer(name, torch.float64))
    inputs = draw(2, 4, 11, 9, dtype=torch.float64)
    update = layer(inputs) - layer.base(inputs)
    kernel = make_base(name, torch.float64)
    groups, n_outputs = kernel.groups, 8 // kernel.groups
    with torch.no_grad():
        if kernel.bias is not None:
            kernel.bias.zero_()
        for output in range(8):
            group = output // n_outputs
            down = layer.lora_A[2 * group : 2 * group + 2]
            up = layer.lora_B[output, :, 0, 0]
            kernel.weight[output] = 1.5 * (up[0] * down[0] + up[1] * down[1])
    assert layer.lora_A.shape[0] == 2 * groups
    torch.testing.assert_close(update, kernel(inputs), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.delta_weight(), kernel.weight, rtol=1e-12, atol=1e-12)


@each_layer
def test_merged_equals_unmerged(name: str) -> None:
    layer = randomise(make_layer(name))
    inputs = draw(2, 4, 11, 9)
    before = layer.base.weight.clone()
    merged = layer.merged()
    ours = layer(inputs)
    assert type(merged) is type(layer.base)
    assert (ours - merged(inputs)).norm() <= 1e-5 * ours.norm()
    assert layer.base.weight.equal(before)
    assert not any(parameter.requires_grad for parameter in merged.parameters())


def test_merging_draws_no_random_number() -> None:
    layer = randomise(make_layer("3x3"))
    before = torch.get_rng_state()
    layer.merged()
    assert torch.get_rng_state().equal(before)


def test_merging_rounds_once_to_the_weight_s_type() -> None:
    layer = randomise(make_layer("3x3", torch.bfloat16))
    exact = layer.base.weight.float() + layer.delta_weight()
    assert layer.merged().weight.equal(exact.bfloat16())


def test_each_group_s_update_has_the_rank_asked_for() -> None:
    layer = randomise(make_layer("grouped", torch.float64))
    for group in layer.delta_weight().reshape(2, 4, -1):
        assert torch.linalg.matrix_rank(group) == 2


def test_an_alpha_below_the_rank_has_an_effect() -> None:
    inputs = draw(2, 4, 11, 9)
    weak, full = (randomise(make_layer("3x3", rank=4, alpha=alpha)) for alpha in (1, 4))
    update = weak(inputs) - weak.base(inputs)
    assert update.abs().min() > 0
    torch.testing.assert_close(4 * update, full(inputs) - full.base(inputs), rtol=1e-4, atol=1e-4)


def test_rank_stabilised_scaling_is_stronger_by_the_root_of_the_rank() -> None:
    plain = make_layer("3x3", rank=4)
    stabilised = make_layer("3x3", rank=4, scaling="alpha/sqrt(rank)")
    torch.testing.assert_close(
        2 * randomise(plain).delta_weight(), randomise(stabilised).delta_weight()
    )


def test_only_the_low_rank_path_is_trained() -> None:
    layer = randomise(make_layer("grouped"))
    inputs = draw(2, 4, 11, 9).requires_grad_()
    layer(inputs).square().sum().backward()
    assert not layer.base.weight.requires_grad
    assert layer.base.weight.grad is None
    assert inputs.grad is not None
    for matrix in (layer.lora_A, layer.lora_B):
        assert matrix.grad is not None
        assert matrix.grad.count_nonzero() == matrix.numel()


def test_the_update_is_held_in_float32_beside_a_bfloat16_weight() -> None:
    layer = randomise(make_layer("3x3", torch.bfloat16))
    assert layer.lora_A.dtype == layer.lora_B.dtype == torch.float32
    assert layer(draw(2, 4, 5, 5, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_dropout_waits_for_training_and_for_an_update() -> None:
    inputs = draw(2, 4, 11, 9)
    layer = make_layer("3x3", dropout=0.5).train()
    assert layer(inputs).equal(layer.base(inputs))
    randomise(layer)
    plain = randomise(make_layer("3x3"))
    assert not layer(inputs).equal(plain(inputs))
    assert layer.eval()(inputs).equal(plain(inputs))


def test_dropout_spares_the_frozen_path() -> None:
    base = nn.Conv2d(1, 1, 1)
    layer = LoRAConv2d(base, rank=1, alpha=1.0, dropout=0.5).train()
    with torch.no_grad():
        base.weight.fill_(7)
        assert base.bias is not None
        base.bias.fill_(1)
        layer.lora_A.fill_(1)
        layer.lora_B.fill_(1)
        outputs = layer(torch.ones(1, 1, 20, 20)).flatten().tolist()
    # The kept inputs of the low-rank path count twice; the base's 7 + 1 is always there.
    assert set(outputs) == {8.0, 10.0}


def test_it_answers_for_its_base_s_weight_and_bias() -> None:
    layer = make_layer("no bias")
    assert layer.weight is layer.base.weight
    assert layer.bias is None


def test_a_convolution_that_standardises_its_weight_is_refused() -> None:
    with pytest.raises(TargetError, match="A ScaledStdConv2d cannot carry a low-rank update"):
        LoRAConv2d(ScaledStdConv2d(4, 8, 3), rank=2, alpha=1.0)


def test_a_rank_of_nought_is_refused() -> None:
    with pytest.raises(SettingsError, match="rank must be at least 1, not 0"):
        make_layer("3x3", rank=0)
