import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors import safe_open
from torch import Tensor, nn

from medlora.backbones.fingerprint import compute_fingerprint
from medlora.backbones.weights import Backbone
from medlora.errors import BackboneError, WrongBackboneError
from medlora.exchange import checkpoint
from medlora.exchange.checkpoint import merge_task, pack_checkpoint, save_checkpoint
from medlora.preprocessing import Preprocessing
from medlora.task.file import Task
from medlora.task.opening import build_model
from tests.unit.exchange.peft_samples import make_exchange_task
from tests.unit.task.model_samples import (
    RESNET,
    VIT,
    draw_backbone,
    draw_images,
    make_model,
    make_model_task,
)

KINDS: dict[str, tuple[str, Any]] = {
    "adapter and normalisations": (VIT, {"targets": ("all",), "normalisations": True}),
    "convolutions": (RESNET, {"targets": ("conv",)}),
    "grouped convolutions": ("test_efficientnet", {"targets": ("conv",)}),
    "a classifier inside a head": ("test_convnext", {"targets": ("conv",)}),
    "head alone": (RESNET, "linear"),
    "everything": (RESNET, "full"),
}


def make_task(kind: str) -> tuple[Task, Backbone]:
    name, settings = KINDS[kind]
    if isinstance(settings, str):
        task = make_model_task(make_model(name, settings), name)
    else:
        task = make_exchange_task(name, **settings)
    return task, draw_backbone(name)


@torch.inference_mode()
def answer(model: nn.Module, side: int) -> Tensor:
    logits: Tensor = model.eval()(draw_images(3, side))
    return logits


@pytest.mark.parametrize("kind", KINDS)
def test_timm_loads_it_strictly_and_answers_like_the_task(kind: str, tmp_path: Path) -> None:
    task, backbone = make_task(kind)
    path = tmp_path / "merged.safetensors"
    save_checkpoint(path, task, backbone, place="here")
    n_classes = len(task.card.classes)
    plain = timm.create_model(backbone.name, num_classes=n_classes, checkpoint_path=str(path))
    side = backbone.preprocessing.size[0]
    ours = answer(build_model(task, backbone, place="here"), side)
    assert (answer(plain, side) - ours).abs().max() <= 1e-5 * max(1, ours.abs().max())
    assert all(value.dtype != torch.bfloat16 for value in plain.state_dict().values())


def test_the_metadata_tell_how_to_use_it(tmp_path: Path) -> None:
    task, backbone = make_task("head alone")
    path = tmp_path / "merged.safetensors"
    save_checkpoint(path, task, backbone, place="here")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    card = task.card
    assert json.loads(metadata["classes"]) == list(card.classes)
    assert json.loads(metadata["thresholds"]) == list(card.thresholds)
    assert json.loads(metadata["multi_label"]) is False
    assert Preprocessing.from_dict(json.loads(metadata["preprocessing"])) == card.preprocessing
    assert metadata["fingerprint"] == backbone.fingerprint
    assert (metadata["task"], metadata["format"]) == (card.name, "pt")
    assert pack_checkpoint(task, backbone, place="here") == path.read_bytes()


def test_the_backbone_stays_as_it_was() -> None:
    task, backbone = make_task("adapter and normalisations")
    state = merge_task(task, backbone, place="here")
    for tensor in state.values():
        tensor.zero_()
    assert compute_fingerprint(backbone.model.state_dict()) == backbone.fingerprint


def test_another_backbone_is_refused() -> None:
    task, _ = make_task("head alone")
    with pytest.raises(WrongBackboneError, match="'tb-cxr' was trained on backbone"):
        merge_task(task, draw_backbone(RESNET, seed=1), place="here")


def test_a_head_of_more_than_one_layer_is_refused() -> None:
    name = "levit_128s"
    task = make_model_task(make_model(name, "linear"), name)
    with pytest.raises(BackboneError, match=r"more between its features .* \('head.bn.bias'\)"):
        merge_task(task, draw_backbone(name), place="here")


def test_a_merged_model_that_answers_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, backbone = make_task("head alone")
    # As if timm put its classifier behind something that a backbone does not have.
    monkeypatch.setattr(checkpoint, "place_head", lambda layer, weight, bias: (weight, bias + 0.01))
    with pytest.raises(BackboneError, match="answers otherwise: a logit of up to"):
        save_checkpoint(tmp_path / "merged.safetensors", task, backbone, place="here")
    assert list(tmp_path.iterdir()) == []
