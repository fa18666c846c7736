"""Our low-rank layers against PEFT's on the same numbers, finite differences, and unfolding."""

import warnings
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from torch.nn import functional

from medlora.lora.conv import LoRAConv2d
from medlora.lora.linear import LoRALinear
from medlora.lora.scaling import Scaling

RANK = 4
ALPHA = 6.0
N_INPUTS = 10
SCALINGS: tuple[Scaling, ...] = ("alpha/rank", "alpha/sqrt(rank)")
CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "1x1": {"kernel_size": 1},
    "3x3": {"kernel_size": 3, "padding": 1},
    "3x3 strided": {"kernel_size": 3, "stride": 2, "padding": 1},
    "5x2, stride 2x3": {"kernel_size": (5, 2), "stride": (2, 3), "padding": (2, 1)},
    "7x7 without bias": {"kernel_size": 7, "padding": 3, "bias": False},
}
GROUPED: dict[str, dict[str, Any]] = {
    "two groups": {"kernel_size": 3, "padding": 1, "groups": 2},
    "two groups, strided": {"kernel_size": (3, 1), "stride": (1, 2), "groups": 2},
    "depthwise": {"kernel_size": 3, "groups": 4, "padding": 1},
}
DILATED: dict[str, dict[str, Any]] = {
    "dilated": {"kernel_size": 3, "dilation": 2, "padding": 2},
    "all at once": {
        "kernel_size": (3, 2),
        "stride": (2, 1),
        "padding": (1, 2),
        "dilation": (1, 3),
        "groups": 2,
    },
}


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def inject_peft(base: nn.Module, *, rank: int, alpha: float, scaling: Scaling) -> Any:
    """PEFT's layer over `base`."""
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # it divides, whatever the number's type
        use_rslora=scaling == "alpha/sqrt(rank)",
        target_modules=["layer"],
        lora_dropout=0.0,
    )
    model = nn.ModuleDict({"layer": base})
    return inject_adapter_in_model(config, model)["layer"]  # type: ignore[index]


def make_linear(n_outputs: int, dtype: torch.dtype, *, bias: bool = True) -> nn.Linear:
    base = nn.Linear(N_INPUTS, n_outputs, dtype=dtype, bias=bias)
    fill(base)
    return base


def make_conv(dtype: torch.dtype, **settings: Any) -> nn.Conv2d:
    base = nn.Conv2d(4, 8, dtype=dtype, **settings)
    fill(base)
    return base


def fill(module: nn.Module, seed: int = 20) -> None:
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=seed + index))


def matrices_of(layer: LoRALinear | LoRAConv2d) -> list[nn.Parameter]:
    return [parameter for parameter in layer.parameters() if parameter.requires_grad]


def fill_matrices(layer: LoRALinear | LoRAConv2d) -> None:
    with torch.no_grad():
        for index, matrix in enumerate(matrices_of(layer)):
            matrix.copy_(draw(*matrix.shape, seed=40 + index))


def set_peft(peft: Any, down: Tensor, up: Tensor) -> None:
    with torch.no_grad():
        peft.lora_A["default"].weight.copy_(down)
        peft.lora_B["default"].weight.copy_(up)


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    """Equal but for the order of additions."""
    bounds = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 3e-2}
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert (ours - theirs).norm() <= bounds[ours.dtype] * theirs.norm()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_is_peft_s(scaling: Scaling, dtype: torch.dtype, bias: bool) -> None:
    ours = LoRALinear(make_linear(7, dtype, bias=bias), rank=RANK, alpha=ALPHA, scaling=scaling)
    fill_matrices(ours)
    theirs = inject_peft(make_linear(7, dtype, bias=bias), rank=RANK, alpha=ALPHA, scaling=scaling)
    set_peft(theirs, ours.lora_A["whole"], ours.lora_B["whole"])
    inputs, mirror = (draw(3, 5, N_INPUTS, dtype=dtype).requires_grad_() for _ in range(2))
    assert_same(ours(inputs), theirs(mirror))
    ours(inputs).square().sum().backward()
    theirs(mirror).square().sum().backward()
    assert inputs.grad is not None
    assert mirror.grad is not None
    assert_same(inputs.grad, mirror.grad)
    assert_same(ours.lora_A["whole"].grad, theirs.lora_A["default"].weight.grad)
    assert_same(ours.lora_B["whole"].grad, theirs.lora_B["default"].weight.grad)


@pytest.mark.parametrize("parts", ["q", "v", "qv", "qkv"])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_parts_of_a_fused_layer_are_peft_s_on_three_separate_ones(
    scaling: Scaling, parts: str
) -> None:
    width = 6
    fused = make_linear(3 * width, torch.float64)
    ours = LoRALinear(fused, rank=RANK, alpha=ALPHA, scaling=scaling, parts=parts)
    fill_matrices(ours)
    inputs = draw(3, 5, N_INPUTS)
    expected = []
    for index, part in enumerate("qkv"):
        rows = slice(index * width, (index + 1) * width)
        separate = nn.Linear(N_INPUTS, width, dtype=torch.float64)
        with torch.no_grad():
            separate.weight.copy_(fused.weight[rows])
            separate.bias.copy_(fused.bias[rows])
        if part not in parts:
            expected.append(separate(inputs))
            continue
        theirs = inject_peft(separate, rank=RANK, alpha=ALPHA, scaling=scaling)
        set_peft(theirs, ours.lora_A[part], ours.lora_B[part])
        expected.append(theirs(inputs))
    assert_same(ours(inputs), torch.cat(expected, dim=-1))


def test_a_wholly_adapted_fused_layer_is_peft_s() -> None:
    """PEFT adapts a fused layer with one A for all three: so do we without parts."""
    ours = LoRALinear(make_linear(18, torch.float64), rank=RANK, alpha=ALPHA)
    fill_matrices(ours)
    theirs = inject_peft(
        make_linear(18, torch.float64), rank=RANK, alpha=ALPHA, scaling="alpha/rank"
    )
    set_peft(theirs, ours.lora_A["whole"], ours.lora_B["whole"])
    inputs = draw(3, N_INPUTS)
    assert_same(ours(inputs), theirs(inputs))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_is_peft_s(name: str, scaling: Scaling, dtype: torch.dtype) -> None:
    settings = CONVOLUTIONS[name]
    ours = LoRAConv2d(make_conv(dtype, **settings), rank=RANK, alpha=ALPHA, scaling=scaling)
    fill_matrices(ours)
    theirs = inject_peft(make_conv(dtype, **settings), rank=RANK, alpha=ALPHA, scaling=scaling)
    set_peft(theirs, ours.lora_A, ours.lora_B)
    inputs, mirror = (draw(2, 4, 9, 8, dtype=dtype).requires_grad_() for _ in range(2))
    assert_same(ours(inputs), theirs(mirror))
    ours(inputs).square().sum().backward()
    theirs(mirror).square().sum().backward()
    assert inputs.grad is not None
    assert mirror.grad is not None
    assert ours.lora_A.grad is not None
    assert ours.lora_B.grad is not None
    assert_same(inputs.grad, mirror.grad)
    assert_same(ours.lora_A.grad, theirs.lora_A["default"].weight.grad)
    assert_same(ours.lora_B.grad, theirs.lora_B["default"].weight.grad)


@pytest.mark.parametrize("name", GROUPED)
def test_a_grouped_convolution_is_peft_s_with_a_down_kernel_of_blocks(name: str) -> None:
    """PEFT's A sees every channel; ours only its group's: PEFT's with zeros elsewhere."""
    settings = GROUPED[name]
    groups = settings["groups"]
    ours = LoRAConv2d(make_conv(torch.float64, **settings), rank=2, alpha=ALPHA)
    fill_matrices(ours)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*groups > 1", category=UserWarning)
        theirs = inject_peft(
            make_conv(torch.float64, **settings),
            rank=2 * groups,
            alpha=ALPHA * groups,  # the factor is alpha over a rank that is larger by the groups
            scaling="alpha/rank",
        )
    down = torch.zeros(theirs.lora_A["default"].weight.shape, dtype=torch.float64)
    width = 4 // groups
    for group in range(groups):
        own = slice(2 * group, 2 * group + 2)
        down[own, group * width : (group + 1) * width] = ours.lora_A.detach()[own]
    set_peft(theirs, down, ours.lora_B)
    inputs = draw(2, 4, 9, 8)
    assert_same(ours(inputs), theirs(inputs))


@pytest.mark.parametrize("name", CONVOLUTIONS | GROUPED | DILATED)
def test_a_convolution_is_a_product_of_matrices_on_unfolded_patches(name: str) -> None:
    settings = (CONVOLUTIONS | GROUPED | DILATED)[name]
    layer = LoRAConv2d(make_conv(torch.float64, **settings), rank=2, alpha=ALPHA)
    fill_matrices(layer)
    inputs = draw(2, 4, 9, 8)
    base = layer.base
    patches = functional.unfold(
        inputs,
        base.kernel_size,  # type: ignore[arg-type]
        dilation=base.dilation,  # type: ignore[arg-type]
        padding=base.padding,  # type: ignore[arg-type]
        stride=base.stride,  # type: ignore[arg-type]
    )
    groups = base.groups
    rows = patches.reshape(2, groups, -1, patches.shape[-1])
    outputs = []
    for group in range(groups):
        weight = base.weight.reshape(groups, 8 // groups, -1)[group]
        down = layer.lora_A.reshape(groups, 2, -1)[group]
        up = layer.lora_B.reshape(groups, 8 // groups, 2)[group]
        outputs.append((weight + ALPHA / 2 * up @ down) @ rows[:, group])
    flat = torch.cat(outputs, dim=1)
    if base.bias is not None:
        flat = flat + base.bias[:, None]
    ours = layer(inputs)
    assert_same(ours, flat.reshape(ours.shape))


def check_gradients(layer: LoRALinear | LoRAConv2d, inputs: Tensor) -> bool:
    """Compare the gradients of the inputs and of each A and B with finite differences."""
    names = [name for name, p in layer.named_parameters() if p.requires_grad]

    def run(inputs: Tensor, *matrices: Tensor) -> Tensor:
        named = dict(zip(names, matrices, strict=True))
        return torch.as_tensor(torch.func.functional_call(layer, named, (inputs,)))

    fill_matrices(layer)
    values = [matrix.detach().clone().requires_grad_() for matrix in matrices_of(layer)]
    return torch.autograd.gradcheck(run, (inputs.requires_grad_(), *values))


@pytest.mark.parametrize("parts", ["", "q", "qv", "qkv"])
def test_gradients_of_a_linear_layer_are_finite_differences(parts: str) -> None:
    layer = LoRALinear(make_linear(6, torch.float64), rank=2, alpha=ALPHA, parts=parts)
    assert check_gradients(layer, draw(2, 3, N_INPUTS))


@pytest.mark.parametrize("name", CONVOLUTIONS | GROUPED | DILATED)
def test_gradients_of_a_convolution_are_finite_differences(name: str) -> None:
    settings = (CONVOLUTIONS | GROUPED | DILATED)[name]
    layer = LoRAConv2d(make_conv(torch.float64, **settings), rank=2, alpha=ALPHA)
    assert check_gradients(layer, draw(1, 4, 5, 5))


@pytest.mark.parametrize("parts", ["", "qv"])
def test_a_merged_linear_layer_is_the_unmerged_one(parts: str) -> None:
    layer = LoRALinear(make_linear(18, torch.float32), rank=RANK, alpha=ALPHA, parts=parts)
    fill_matrices(layer)
    inputs = draw(64, N_INPUTS, dtype=torch.float32)
    assert_same(layer.merged()(inputs), layer(inputs))


@pytest.mark.parametrize("name", CONVOLUTIONS | GROUPED | DILATED)
def test_a_merged_convolution_is_the_unmerged_one(name: str) -> None:
    settings = (CONVOLUTIONS | GROUPED | DILATED)[name]
    layer = LoRAConv2d(make_conv(torch.float32, **settings), rank=2, alpha=ALPHA)
    fill_matrices(layer)
    inputs = draw(2, 4, 9, 8, dtype=torch.float32)
    assert_same(layer.merged()(inputs), layer(inputs))
