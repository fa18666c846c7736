"""What a family's chain owes: a network cut at any of its modules computes the same bits."""

import pytest
import torch

from medlora.backbones.copying import copy_network
from medlora.backbones.cutting import BEHIND, NetworkCut
from medlora.backbones.spec import find_chain
from tests.contract.family_samples import SETTINGS, SIDE, draw_backbone

each_family = pytest.mark.parametrize("name", SETTINGS)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])


@each_dtype
@each_family
@torch.inference_mode()
def test_two_parts_compute_what_the_whole_does_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    network = copy_network(draw_backbone(name).model, dtype, share=True).eval()
    chain = find_chain(network)
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = network(images)
    for place in (chain[0], chain[1], chain[len(chain) // 2], chain[-1], BEHIND):
        cut = NetworkCut(network, place, chain, (3, SIDE, SIDE))
        assert torch.equal(cut.finish(cut.start(images), dtype), expected), place
