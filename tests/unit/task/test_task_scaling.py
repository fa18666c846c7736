import pytest
import torch
from torch import nn

from medlora.task.scaling import rescale_tensors, scale_head

SCALE, OFFSET = (0.5, 3.0, 1.25), (0.0, -2.0, 7.5)


def draw_head():
    torch.manual_seed(0)
    return nn.Linear(6, 3)


@torch.no_grad()
def test_a_scaled_head_gives_scaled_logits() -> None:
    head, features = draw_head(), torch.randn(10, 6)
    expected = head(features).double() * torch.tensor(SCALE) + torch.tensor(OFFSET)
    scale_head(head, SCALE, OFFSET)
    assert torch.allclose(head(features).double(), expected, rtol=1e-5, atol=1e-5)
    assert head.weight.requires_grad
    assert head.weight.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_another_scaling_takes_the_place_of_the_first(dtype) -> None:
    head = draw_head()
    plain = {
        "head.weight": head.weight.detach().to(dtype),
        "head.bias": head.bias.detach().to(dtype),
        "adapter.x.A": torch.ones(2, 2),
    }
    none = ((1.0,) * 3, (0.0,) * 3)
    once = rescale_tensors(plain, none, (SCALE, OFFSET))
    back = rescale_tensors(once, (SCALE, OFFSET), none)
    tolerance = {torch.float32: 1e-6, torch.float16: 1e-2, torch.float64: 1e-14}[dtype]
    for name in ("head.weight", "head.bias"):
        assert once[name].dtype == back[name].dtype == dtype
        assert not once[name].equal(plain[name])
        assert torch.allclose(back[name].double(), plain[name].double(), atol=tolerance)
    assert once["adapter.x.A"] is plain["adapter.x.A"]
    other = ((2.0, 2.0, 2.0), (1.0, 1.0, 1.0))
    direct = rescale_tensors(plain, none, other)
    moved = rescale_tensors(once, (SCALE, OFFSET), other)
    assert torch.allclose(
        direct["head.bias"].double(), moved["head.bias"].double(), atol=tolerance * 10
    )


def test_scaling_by_one_changes_no_bit() -> None:
    head = draw_head()
    before = head.weight.detach().clone(), head.bias.detach().clone()
    scale_head(head, (1.0,) * 3, (0.0,) * 3)
    assert head.weight.equal(before[0])
    assert head.bias.equal(before[1])
