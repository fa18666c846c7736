"""What factorised layers owe: they share convolutions with other tasks, and leave as plain ones."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from torch import nn

from bank_samples import answer_apart, draw_pictures, make_task
from medlora.backbones.fingerprint import compute_fingerprint
from medlora.backbones.weights import Backbone
from medlora.bank.bank import TaskBank
from medlora.data.image import normalise_batch
from medlora.errors import BackboneError, TaskFileError
from medlora.exchange.checkpoint import merge_task, name_merged
from medlora.exchange.onnx import export_onnx
from medlora.exchange.peft import export_peft
from medlora.task.factorised import plan_factorised
from medlora.task.file import Task
from medlora.task.model import TaskModel
from medlora.task.opening import build_model
from tests.contract.family_samples import SIDE, create_small, draw_backbone

NAME = "vgg11.features"
CREATE = timm.create_model


def draw_tasks(name: str = NAME) -> dict[str, Task]:
    backbone = draw_backbone(name)
    tasks = [
        make_task(backbone, "factorised", method="factorised", n_classes=4, strength=0.02),
        make_task(backbone, "other", method="factorised", rank=3, seed=1, strength=0.02),
        make_task(backbone, "adapter", targets=["default"], seed=2, strength=0.02),
        make_task(backbone, "head", method="linear", n_classes=3, seed=3, strength=0.02),
    ]
    return {task.card.name: task for task in tasks}


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=["fp32", "bf16"]
)
@pytest.mark.parametrize("name", [NAME, "resnet18", "vit_tiny_patch16_224"])
def test_a_bank_answers_with_them_beside_other_tasks(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    backbone, tasks = draw_backbone(name), draw_tasks(name)
    bank = TaskBank(backbone, dtype=dtype)
    for task in tasks.values():
        bank.add(task)
    (picture, other) = draw_pictures(2)
    together = bank.predict([picture, other], [list(tasks), list(tasks)[::-1]])
    for key, task in tasks.items():
        expected = answer_apart(task, backbone, picture, dtype=dtype)
        found = together[0][key].probabilities
        assert np.abs(np.array(found) - expected).max() <= tolerance, key
    assert compute_fingerprint(backbone.model.state_dict()) == backbone.fingerprint
    before = bank.n_bytes
    bank.remove("factorised")
    # U, V, biases and head in float32; the convolutions are the bank's own.
    assert before - bank.n_bytes == 4 * sum(t.numel() for t in tasks["factorised"].tensors.values())


def narrow(name: str, **settings: Any) -> nn.Module:
    """The merged layers would take half a gigabyte."""
    model: nn.Module = CREATE(name, **({"mlp_ratio": 0.01} | settings))
    return model


@torch.no_grad()
def test_merged_they_are_a_complete_network_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", narrow)
    draw_backbone.cache_clear()
    try:
        backbone = draw_backbone(NAME)
        task = make_task(backbone, "narrow", method="factorised", n_classes=3, strength=0.02)
        model = build_model(task, backbone, place="x")
        state = merge_task(task, backbone, place="x")
        assert name_merged(task) == "vgg11"
        plain = narrow("vgg11", num_classes=3).eval()
        plain.load_state_dict(state)
        # Maps smaller than the kernel are stretched to it, and larger ones slid over, by both.
        for side in (SIDE, 256):
            images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(side))
            expected = model(images)
            assert (plain(images) - expected).abs().max() <= 1e-4 * expected.abs().max()
    finally:
        draw_backbone.cache_clear()


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_behind_another_network_they_leave_as_onnx(name: str) -> None:
    backbone, task = draw_backbone(name), draw_tasks(name)["factorised"]
    content = export_onnx(task, backbone, place="x")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    model = build_model(task, backbone, place="x")
    images = torch.randint(0, 256, (3, 3, SIDE, SIDE), dtype=torch.uint8)
    with torch.inference_mode():
        logits = model(normalise_batch(images, task.card.preprocessing))
    (answers,) = session.run(None, {"images": images.numpy()})
    assert np.abs(answers - logits.softmax(dim=1).numpy()).max() < 1e-4
    assert len(content) > sum(4 * t.numel() for t in task.tensors.values())
    with pytest.raises(BackboneError, match=r"no fully connected layers behind its feature map"):
        merge_task(task, backbone, place="x")


def test_what_has_no_place_elsewhere_is_refused(tmp_path: Any) -> None:
    backbone, tasks = draw_backbone(NAME), draw_tasks()
    with pytest.raises(TaskFileError, match=r"by the method 'factorised'.*medlora tasks merge"):
        export_peft(tasks["factorised"], tmp_path, backbone)
    for key in ("adapter", "head"):
        with pytest.raises(BackboneError, match=r"timm has no model that classifies the features"):
            merge_task(tasks[key], backbone, place="x")


@torch.no_grad()
def test_they_start_alike_from_one_seed_and_the_convolutions_stay_the_backbone_s() -> None:
    backbone = draw_backbone(NAME)
    models = [build_untrained(backbone, seed) for seed in (1, 1, 2)]
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    first, same, other = (model(images) for model in models)
    assert first.equal(same)
    assert not first.equal(other)
    maps = models[0].network.get_submodule("features")(images)
    plain = create_small(NAME)
    plain.load_state_dict(backbone.model.state_dict())
    assert maps.equal(plain.eval().get_submodule("features")(images))


def build_untrained(backbone: Backbone, seed: int) -> TaskModel:
    torch.manual_seed(seed)
    factorised = plan_factorised(backbone, rank=4)
    model = TaskModel(backbone, 3, method="factorised", factorised=factorised)
    return model.eval()
