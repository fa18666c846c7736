"""What a family's chain owes: a network cut at any of its modules computes the same bits."""

import pytest
import torch
from torch import Tensor

from medlora.backbones.appended import find_tail
from medlora.backbones.blocks import list_last_modules
from medlora.backbones.copying import copy_network
from medlora.backbones.cutting import BEHIND, NetworkCut
from medlora.backbones.fingerprint import compute_fingerprint
from medlora.backbones.spec import find_chain
from medlora.task.factorised import plan_factorised
from medlora.task.model import TaskModel, plan_adapter
from medlora.task.trained import find_normalisations
from tests.contract.family_samples import SIDE, draw_backbone, each_family, randomise

each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])


@each_dtype
@each_family
def test_two_parts_compute_what_the_whole_does_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    network = copy_network(draw_backbone(name).model, dtype, share=True).eval()
    chain = find_chain(network)
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.inference_mode():
        expected = network(images)
        for place in (chain[0], chain[1], chain[len(chain) // 2], chain[-1], BEHIND):
            cut = NetworkCut(network, place, chain, (3, SIDE, SIDE))
            assert torch.equal(cut.finish(cut.start(images), dtype), expected), place


def differentiate(model: TaskModel, logits: Tensor) -> dict[str, Tensor]:
    named = model.named_trainable()
    gradients = torch.autograd.grad(logits.square().sum(), list(named.values()))
    return dict(zip(named, gradients, strict=True))


def assert_same_gradients(model: TaskModel, whole: Tensor, parts: Tensor) -> None:
    expected, found = differentiate(model, whole), differentiate(model, parts)
    for key in expected:
        assert torch.equal(expected[key], found[key]), key


@each_dtype
@pytest.mark.parametrize("with_norms", [False, True], ids=["adapter", "and norms"])
@each_family
def test_training_above_the_cut_sees_the_same_bits(name, with_norms, dtype) -> None:
    backbone = draw_backbone(name)
    adapter = plan_adapter(backbone, rank=2, alpha=2.0, last_blocks=1)
    later = list_last_modules(backbone.model, adapter.layers, 1)
    norms = [n for n in find_normalisations(backbone.model) if n.rpartition(".")[0] in later]
    trained = [n for n in norms if n.rpartition(".")[0] not in adapter.layers] if with_norms else ()
    model = TaskModel(backbone, 3, method="lora", adapter=adapter, dtype=dtype, trained=trained)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.named_trainable().values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    model.train()
    images = torch.randn(2, 3, SIDE, SIDE, generator=generator)
    assert model.cut is not None and model.cut.place != BEHIND
    hidden = model.start(images)
    assert not hidden.requires_grad
    whole, parts = model(images), model(hidden, is_started=True)
    assert torch.equal(whole, parts)
    assert_same_gradients(model, whole, parts)


@each_dtype
def test_factorised_layers_are_trained_on_what_the_convolutions_gave(dtype: torch.dtype) -> None:
    backbone = draw_backbone("vgg11.features")
    settings = plan_factorised(backbone, rank=2)
    model = TaskModel(backbone, 3, method="factorised", factorised=settings, dtype=dtype)
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    hidden = model.start(images)
    assert model.cut is not None and model.cut.place == "pre_logits"
    assert hidden.shape[:2] == (2, 512) and hidden.dtype == dtype
    whole, parts = model(images), model(hidden, is_started=True)
    assert torch.equal(whole, parts)
    assert_same_gradients(model, whole, parts)


@each_dtype
@each_family
def test_layers_behind_a_map_are_trained_on_what_was_kept_of_it(name, dtype) -> None:
    backbone = draw_backbone("vgg11.features" if name == "vgg11" else name)
    before = compute_fingerprint(backbone.model.state_dict())
    settings = plan_factorised(backbone, rank=2, input_norm="rms")
    model = TaskModel(backbone, 3, method="factorised", factorised=settings, dtype=dtype)
    randomise(model)
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    hidden = model.start(images)
    assert model.cut is not None and model.cut.place in ("pre_logits", find_tail(model.network))
    whole, parts = model(images), model(hidden, is_started=True)
    assert whole.shape == (2, 3)
    assert torch.equal(whole, parts)
    assert_same_gradients(model, whole, parts)
    # Where something is counts: the image upside down is another one.
    assert not torch.equal(model(images.flip(2)), whole)
    assert compute_fingerprint(backbone.model.state_dict()) == before == backbone.fingerprint
