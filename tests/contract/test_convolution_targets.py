"""Adapters on the convolutions, and on the connected layers of a VGG, of each kind of network."""

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
from tests.contract.family_samples import create_small, draw_backbone, draw_images, randomise

CASES = {
    ("vgg16", "conv"): 13,
    ("vgg16", "fc"): 2,
    ("vgg16_seed", "conv"): 11,
    ("vgg16_seed", "fc"): 2,
    ("vgg16.features", "conv"): 13,
    ("resnet18", "conv"): 16,
    ("resnet50", "conv"): 48,
    ("densenet121", "conv"): 119,
    ("tf_efficientnet_lite0", "conv"): 48,
    ("efficientnet_b0", "conv"): 48,
}
each_case = pytest.mark.parametrize(("name", "target"), CASES)


def make_model(name: str, target: str) -> TaskModel:
    backbone = draw_backbone(name)
    adapter = plan_adapter(backbone, rank=2, alpha=1.0, targets=[target])
    torch.manual_seed(2)
    return TaskModel(backbone, 3, method="lora", adapter=adapter)


@each_case
@torch.no_grad()
def test_the_start_is_the_backbone_bit_for_bit(name: str, target: str) -> None:
    model = make_model(name, target)
    assert len(find_adapters(model.network)) == CASES[name, target]
    plain = create_small(name).eval()
    plain.load_state_dict(draw_backbone(name).model.state_dict())
    # Another layout of the same numbers is computed in another order, and rounds differently.
    images = draw_images().to(memory_format=find_memory_format(plain))
    assert model.extract_features(draw_images()).equal(plain(images))


@each_case
def test_every_matrix_learns_and_the_backbone_does_not(name: str, target: str) -> None:
    model = randomise(make_model(name, target)).train()
    parameters = model.named_trainable()
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.01, weight_decay=0.1)
    nn.functional.cross_entropy(model(draw_images()), torch.tensor([0, 2])).backward()
    still = [key for key, value in parameters.items() if value.grad is None or not value.grad.any()]
    assert not still
    assert all(value.grad.isfinite().all() for value in parameters.values())
    optimizer.step()
    backbone = draw_backbone(name)
    assert compute_fingerprint(backbone.model.state_dict()) == backbone.fingerprint


@each_case
@torch.no_grad()
def test_merging_and_saving_keep_the_answers(name: str, target: str) -> None:
    backbone = draw_backbone(name)
    model = randomise(make_model(name, target)).eval()
    features, answers = model.extract_features(draw_images()), model(draw_images())
    merged = merge_adapters(model.network)
    assert merged.state_dict().keys() == backbone.model.state_dict().keys()
    assert (merged(draw_images()) - features).norm() <= 1e-5 * features.norm()
    card = TaskCard(
        name="target",
        classes=("a", "b", "c"),
        multi_label=False,
        method="lora",
        backbone=BackboneReference(name, backbone.fingerprint),
        preprocessing=backbone.preprocessing,
        adapter=plan_adapter(backbone, rank=2, alpha=1.0, targets=[target]),
        thresholds=(0.3, 0.3, 0.3),
        created="2025-01-31T12:00:00+00:00",
    )
    content = pack_task(Task(card, model.collect_tensors()))
    reopened = build_model(unpack_task(content, "x"), backbone, place="x")
    assert reopened(draw_images()).equal(answers)
    assert not make_model(name, target)(draw_images()).equal(answers)
