import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medlora.errors import SettingsError, TargetError
from medlora.lora.linear import FUSED_PARTS, LoRALinear

PARTS = [(), *(c for n in (1, 2, 3) for c in itertools.combinations(FUSED_PARTS, n))]
WIDTH = 4
N_INPUTS = 6


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def make_layer(
    parts: Sequence[str] = (), *, dtype: torch.dtype = torch.float32, **changes: Any
) -> LoRALinear:
    base = nn.Linear(N_INPUTS, 3 * WIDTH, dtype=dtype)
    with torch.no_grad():
        base.weight.copy_(draw(3 * WIDTH, N_INPUTS, seed=1))
        base.bias.copy_(draw(3 * WIDTH, seed=2))
    settings: dict[str, Any] = {"rank": 2, "alpha": 3.0}
    return LoRALinear(base, parts=parts, **(settings | changes))


def randomise(layer: LoRALinear) -> LoRALinear:
    with torch.no_grad():
        for seed, matrix in enumerate([*layer.lora_A.values(), *layer.lora_B.values()]):
            matrix.copy_(draw(*matrix.shape, seed=100 + seed))
    return layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("parts", PARTS, ids="".join)
def test_a_new_layer_is_its_base(parts: tuple[str, ...], dtype: torch.dtype) -> None:
    layer = make_layer(parts, dtype=dtype)
    inputs = draw(5, 3, N_INPUTS, dtype=dtype)
    assert layer(inputs).equal(layer.base(inputs))
    assert any(matrix.count_nonzero() for matrix in layer.lora_A.values())


@pytest.mark.parametrize("parts", PARTS, ids="".join)
def test_each_part_gets_its_own_product(parts: tuple[str, ...]) -> None:
    layer = randomise(make_layer(parts, dtype=torch.float64))
    inputs = draw(5, N_INPUTS, dtype=torch.float64)
    expected = inputs @ layer.base.weight.T + layer.base.bias
    for part in parts or ("whole",):
        update = 1.5 * (inputs @ layer.lora_A[part].T) @ layer.lora_B[part].T
        start = FUSED_PARTS.index(part) * WIDTH if parts else 0
        expected[:, start : start + update.shape[1]] += update
    torch.testing.assert_close(layer(inputs), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_that_are_not_adapted_stay_bit_for_bit(dtype: torch.dtype) -> None:
    layer = randomise(make_layer("qv", dtype=dtype))
    inputs = draw(5, N_INPUTS, dtype=dtype)
    ours, base = layer(inputs).split(WIDTH, dim=1), layer.base(inputs).split(WIDTH, dim=1)
    assert ours[1].equal(base[1])
    assert not ours[0].equal(base[0])
    assert not ours[2].equal(base[2])


def test_the_order_in_which_parts_are_named_does_not_matter() -> None:
    first, second = randomise(make_layer("qv")), randomise(make_layer("vq"))
    inputs = draw(5, N_INPUTS)
    assert first(inputs).equal(second(inputs))


def test_an_alpha_below_the_rank_has_an_effect() -> None:
    layer = randomise(make_layer(rank=4, alpha=1))
    inputs = draw(5, N_INPUTS)
    update = layer(inputs) - layer.base(inputs)
    assert layer.scale == 0.25
    full = randomise(make_layer(rank=4, alpha=4))
    torch.testing.assert_close(4 * update, full(inputs) - full.base(inputs))
    assert update.abs().min() > 0


def test_rank_stabilised_scaling_is_stronger_by_the_root_of_the_rank() -> None:
    inputs = draw(5, N_INPUTS)
    updates = [
        layer(inputs) - layer.base(inputs)
        for scaling in ("alpha/rank", "alpha/sqrt(rank)")
        for layer in [randomise(make_layer(rank=4, scaling=scaling))]
    ]
    torch.testing.assert_close(2 * updates[0], updates[1])


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 0), (2, 3), (2, 3, 4)])
def test_any_leading_axes_are_kept(shape: tuple[int, ...]) -> None:
    layer = randomise(make_layer("qv"))
    outputs = layer(draw(*shape, N_INPUTS))
    assert outputs.shape == (*shape, 3 * WIDTH)


def test_inputs_that_are_not_contiguous_are_taken() -> None:
    layer = randomise(make_layer("qv"))
    inputs = draw(N_INPUTS, 3, 5).permute(2, 1, 0)
    torch.testing.assert_close(layer(inputs), layer(inputs.contiguous()))


def test_only_the_low_rank_path_is_trained() -> None:
    layer = randomise(make_layer("qv"))
    inputs = draw(5, N_INPUTS).requires_grad_()
    layer(inputs).square().sum().backward()
    assert layer.base.weight.grad is None
    assert not layer.base.weight.requires_grad
    assert not layer.base.bias.requires_grad
    assert inputs.grad is not None
    for matrix in [*layer.lora_A.values(), *layer.lora_B.values()]:
        assert matrix.grad is not None
        assert matrix.grad.count_nonzero() == matrix.numel()


def test_the_update_is_held_in_float32_beside_a_bfloat16_weight() -> None:
    layer = randomise(make_layer("qv", dtype=torch.bfloat16))
    assert {matrix.dtype for matrix in layer.parameters() if matrix.requires_grad} == {
        torch.float32
    }
    assert layer(draw(5, N_INPUTS, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_dropout_waits_for_training_and_for_an_update() -> None:
    inputs = draw(50, N_INPUTS)
    layer = make_layer("qv", dropout=0.5).train()
    assert layer(inputs).equal(layer.base(inputs))
    randomise(layer)
    plain = randomise(make_layer("qv"))
    assert not layer(inputs).equal(plain(inputs))
    assert layer.eval()(inputs).equal(plain(inputs))


def test_dropout_spares_the_frozen_path() -> None:
    base = nn.Linear(1, 1)
    layer = LoRALinear(base, rank=1, alpha=1.0, dropout=0.5).train()
    with torch.no_grad():
        base.weight.fill_(7)
        base.bias.fill_(1)
        layer.lora_A["whole"].fill_(1)
        layer.lora_B["whole"].fill_(1)
        outputs = layer(torch.ones(200, 1)).flatten().tolist()
    # The kept inputs of the low-rank path count twice; the base's 7 + 1 is always there.
    assert set(outputs) == {8.0, 10.0}


@pytest.mark.parametrize("parts", PARTS, ids="".join)
def test_merged_equals_unmerged(parts: tuple[str, ...]) -> None:
    layer = randomise(make_layer(parts))
    inputs = draw(64, N_INPUTS)
    before = layer.base.weight.clone()
    merged = layer.merged()
    ours, theirs = layer(inputs), merged(inputs)
    assert type(merged) is nn.Linear
    assert (ours - theirs).norm() <= 1e-5 * ours.norm()
    assert layer.base.weight.equal(before)
    assert merged.weight.data_ptr() != layer.base.weight.data_ptr()
    assert not any(parameter.requires_grad for parameter in merged.parameters())


def test_merging_draws_no_random_number() -> None:
    layer = randomise(make_layer())
    before = torch.get_rng_state()
    layer.merged()
    assert torch.get_rng_state().equal(before)


def test_merging_rounds_once_to_the_weight_s_type() -> None:
    layer = randomise(make_layer("qv", dtype=torch.bfloat16))
    exact = layer.base.weight.float() + layer.delta_weight()
    assert layer.merged().weight.equal(exact.bfloat16())


def test_a_layer_without_bias_is_adapted_and_merged() -> None:
    layer = LoRALinear(nn.Linear(N_INPUTS, 5, bias=False), rank=2, alpha=1.0)
    randomise(layer)
    merged = layer.merged()
    assert layer.bias is None
    assert merged.bias is None
    torch.testing.assert_close(layer(draw(4, N_INPUTS)), merged(draw(4, N_INPUTS)))


def test_the_update_has_the_rank_asked_for() -> None:
    layer = randomise(make_layer("v", rank=2, dtype=torch.float64))
    delta = layer.delta_weight()
    assert torch.linalg.matrix_rank(delta) == 2
    assert not delta[: 2 * WIDTH].any()


def test_A_starts_within_the_bounds_of_kaiming_uniform() -> None:  # noqa: N802
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(400, 3), rank=50, alpha=1.0)
    values = layer.lora_A["whole"]
    bound = 1 / 400**0.5
    assert values.abs().max() <= bound
    assert values.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert not layer.lora_B["whole"].any()


def test_it_answers_for_its_base_s_weight_and_bias() -> None:
    layer = make_layer()
    assert layer.weight is layer.base.weight
    assert layer.bias is layer.base.bias


def test_it_can_be_planned_without_memory() -> None:
    layer = LoRALinear(nn.Linear(10**6, 3 * 10**6, device="meta"), rank=4, alpha=4, parts="qv")
    assert sum(p.numel() for p in layer.parameters() if p.requires_grad) == 2 * 4 * 2 * 10**6


@pytest.mark.parametrize("parts", ["x", "qq", "qx", ("whole",)])
def test_parts_are_q_k_and_v(parts: Sequence[str]) -> None:
    with pytest.raises(TargetError, match="are q, k and v, each at most once; not"):
        make_layer(parts)


def test_a_layer_that_cannot_be_cut_in_three_has_no_parts() -> None:
    with pytest.raises(TargetError, match="8 outputs holds no fused query, key and value"):
        LoRALinear(nn.Linear(4, 8), rank=1, alpha=1.0, parts="q")


def test_a_rank_of_nought_is_refused() -> None:
    with pytest.raises(SettingsError, match="rank must be at least 1, not 0"):
        make_layer(rank=0)
