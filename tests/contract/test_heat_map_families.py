"""Every family's answers can be explained, with or without an adapter."""

import numpy as np
import pytest
import torch
from family_samples import SETTINGS, SIDE, draw_backbone

from medlora.evaluate.heat_maps import choose_map_method, compute_heat_map
from medlora.task.model import TaskModel, plan_adapter

# Cells of the map on a side, for inputs of 64 pixels.
GRIDS = {"vit_tiny_patch16_224": 4, "vgg11": 4, "tf_efficientnet_lite0": 4}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("method", ["lora", "linear"])
def test_a_map_of_every_family(name: str, method: str) -> None:
    backbone = draw_backbone(name)
    adapter = plan_adapter(backbone, rank=2, alpha=2.0) if method == "lora" else None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = TaskModel(backbone, 3, method=method, adapter=adapter).eval()
        images = torch.randn(1, 3, SIDE, SIDE)
    with torch.no_grad():
        answers = model(images)
    maps = [compute_heat_map(model, images, k, multi_label=False) for k in range(3)]
    side = GRIDS.get(name, 2)
    assert [each.shape for each in maps] == [(side, side)] * 3
    assert all(np.isfinite(each).all() and each.min() >= 0 for each in maps)
    assert max(each.max() for each in maps) == 1
    # Maps of classes differ: what speaks for one does not speak for all.
    assert not np.allclose(maps[0], maps[1]) or not np.allclose(maps[1], maps[2])
    expected = "attention" if name.startswith("vit") else "grad-cam"
    assert choose_map_method(model) == expected
    with torch.no_grad():
        assert model(images).equal(answers)
