"""Tasks that PEFT itself loads, and adapters that PEFT itself saved: the logits are the same."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from medlora.backbones.weights import Backbone
from medlora.errors import TaskFileError
from medlora.exchange.companion import CARD_FILE
from medlora.exchange.peft import export_peft, import_peft
from medlora.task.file import Task, convert_task, pack_task
from medlora.task.opening import build_model
from tests.unit.exchange.peft_samples import CLASSES, THRESHOLDS, make_exchange_task
from tests.unit.task.model_samples import RESNET, VIT, draw_backbone, draw_images
from tests.unit.task.task_samples import same_task

EFFICIENTNET = "test_efficientnet"
CONVNEXT = "test_convnext"
N_CLASSES = 3

EXPORTED: dict[str, tuple[str, dict[str, Any]]] = {
    "q and v": (VIT, {}),
    "k alone": (VIT, {"targets": ("blocks.*.attn.qkv:k",), "rank": 3}),
    "attention, rank-stabilised": (
        VIT,
        {"targets": ("attention",), "rank": 3, "alpha": 0.7, "scaling": "alpha/sqrt(rank)"},
    ),
    "perceptrons": (VIT, {"targets": ("mlp",), "rank": 5, "alpha": 1.0}),
    "everything": (VIT, {"targets": ("all",), "rank": 4, "alpha": 16.0, "dropout": 0.1}),
    "whole fused layers": (VIT, {"targets": ("blocks.*.attn.qkv",)}),
    "normalisations": (VIT, {"normalisations": True}),
    "convolutions": (RESNET, {"targets": ("conv",), "scaling": "alpha/sqrt(rank)"}),
    "statistics": (RESNET, {"normalisations": True}),
    "a name at the end of others": ("resnet18", {"targets": ("conv1",)}),
    "grouped convolutions": (EFFICIENTNET, {"targets": ("conv",)}),
    "a classifier inside a head": (CONVNEXT, {"targets": ("default", "conv"), "rank": 3}),
}

pytestmark = pytest.mark.filterwarnings(
    "ignore:LoRA adapter added to ConvNd layer with groups:UserWarning"
)


def build_base(backbone: Backbone) -> nn.Module:
    """timm's model with a classifier that is not trained, over the backbone's weights."""
    base = timm.create_model(backbone.name, num_classes=N_CLASSES)
    result = base.load_state_dict(backbone.model.state_dict(), strict=False)
    assert {key.rpartition(".")[2] for key in result.missing_keys} == {"weight", "bias"}
    assert len(result.missing_keys) == 2
    assert not result.unexpected_keys
    return base.eval()


@torch.inference_mode()
def answer_ours(task: Task, backbone: Backbone) -> Tensor:
    model = build_model(task, backbone, place="here")
    return model(draw_images(3, backbone.preprocessing.size[0]))


@torch.inference_mode()
def answer_peft(model: nn.Module, backbone: Backbone) -> Tensor:
    logits: Tensor = model.eval()(draw_images(3, backbone.preprocessing.size[0]))
    return logits


def assert_alike(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape == (3, N_CLASSES)
    assert (ours - theirs).abs().max() <= 1e-5 * max(1, ours.abs().max())


@pytest.mark.parametrize("case", EXPORTED)
def test_peft_answers_like_the_task_and_the_task_comes_back(case: str, tmp_path: Path) -> None:
    name, settings = EXPORTED[case]
    task, backbone = make_exchange_task(name, **settings), draw_backbone(name)
    export_peft(task, tmp_path, backbone)
    base = build_base(backbone)
    before = answer_peft(base, backbone)
    loaded = PeftModel.from_pretrained(base, str(tmp_path))
    ours = answer_ours(task, backbone)
    assert_alike(ours, answer_peft(loaded, backbone))
    assert (ours - before).abs().max() > 1e-2
    assert pack_task(import_peft(tmp_path, backbone)) == pack_task(task)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_travels_as_it_is(dtype: Any, tmp_path: Path) -> None:
    backbone = draw_backbone(VIT)
    task = convert_task(make_exchange_task(VIT, targets=("attention",)), dtype)
    export_peft(task, tmp_path)
    loaded = PeftModel.from_pretrained(build_base(backbone), str(tmp_path))
    assert_alike(answer_ours(task, backbone), answer_peft(loaded, backbone))
    assert same_task(import_peft(tmp_path, backbone), task)


def test_what_peft_saves_again_unchanged_is_the_same_task(tmp_path: Path) -> None:
    backbone, task = draw_backbone(VIT), make_exchange_task(VIT, targets=("attention",))
    first, again = tmp_path / "first", tmp_path / "again"
    export_peft(task, first)
    save(PeftModel.from_pretrained(build_base(backbone), str(first)), again)
    shutil.copy(first / CARD_FILE, again)
    assert same_task(import_peft(again, backbone), task)


def save(model: PeftModel, folder: Path) -> None:
    # Otherwise PEFT asks its hub about the name of the model beneath.
    model.peft_config["default"].base_model_name_or_path = None
    model.save_pretrained(str(folder))


def test_what_was_trained_further_in_peft_is_no_longer_sealed(tmp_path: Path) -> None:
    backbone, task = draw_backbone(VIT), make_exchange_task(VIT, targets=("attention",))
    first, again = tmp_path / "first", tmp_path / "again"
    export_peft(task, first)
    model = PeftModel.from_pretrained(build_base(backbone), str(first), is_trainable=True)
    randomise(model)
    save(model, again)
    shutil.copy(first / CARD_FILE, again)
    imported = import_peft(again, backbone)
    assert_alike(answer_ours(imported, backbone), answer_peft(model, backbone))
    card = imported.card
    assert card.note.startswith("Changed by another program after MedLoRA had exported it.")
    assert task.card.note in card.note
    assert (card.name, card.classes) == (task.card.name, CLASSES)
    assert card.thresholds == (1 / 3,) * 3 != THRESHOLDS
    assert card.metrics == {}
    assert card.self_check is not None


TRAINED: dict[str, tuple[str, dict[str, Any]]] = {
    "fused": (VIT, {"target_modules": ["qkv"], "r": 4, "lora_alpha": 6}),
    "rank-stabilised": (
        VIT,
        {"target_modules": ["attn.proj", "fc1", "fc2"], "r": 3, "use_rslora": True},
    ),
    "patterns": (
        VIT,
        {
            "target_modules": "blocks.*(qkv|fc1)",
            "r": 4,
            "rank_pattern": {"fc1": 2, r"blocks\.1\.attn\.qkv": 7},
            "alpha_pattern": {"^blocks.[2-3].*": 5, "qkv": 12},
        },
    ),
    "some layers, another start": (
        VIT,
        {
            "target_modules": ["qkv"],
            "layers_to_transform": [0, 3],
            "layers_pattern": "blocks",
            "init_lora_weights": "gaussian",
            "lora_dropout": 0.2,
        },
    ),
    "normalisations": (VIT, {"target_modules": ["qkv"], "modules_to_save": ["head", "norm1"]}),
    "convolutions": (
        RESNET,
        {"target_modules": ["conv2", "conv3"], "r": 2, "modules_to_save": ["fc", "layer1.0.bn1"]},
    ),
    "a whole head": (CONVNEXT, {"target_modules": ["fc1"], "modules_to_save": ["head"]}),
}


def randomise(model: nn.Module) -> None:
    """Change everything that PEFT would train."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)


def train_in_peft(backbone: Backbone, settings: Mapping[str, Any], folder: Path) -> PeftModel:
    values = {"modules_to_save": ["head"]} | dict(settings)
    model = get_peft_model(build_base(backbone), LoraConfig(**values))
    assert isinstance(model, PeftModel)
    randomise(model)
    model.save_pretrained(str(folder))
    return model


@pytest.mark.parametrize("case", TRAINED)
def test_an_adapter_of_peft_answers_as_it_did(case: str, tmp_path: Path) -> None:
    name, settings = TRAINED[case]
    backbone = draw_backbone(name)
    model = train_in_peft(backbone, settings, tmp_path)
    task = import_peft(tmp_path, backbone, name="from-peft", classes=CLASSES)
    assert_alike(answer_ours(task, backbone), answer_peft(model, backbone))
    assert task.card.note.startswith("Imported from PEFT. Its training data")
    kept = {key for key in task.tensors if key.startswith("trained.")}
    assert bool(kept) == (case in ("normalisations", "convolutions", "a whole head"))


def test_what_was_imported_can_be_exported_again(tmp_path: Path) -> None:
    name, settings = TRAINED["patterns"]
    backbone = draw_backbone(name)
    train_in_peft(backbone, settings, tmp_path / "first")
    task = import_peft(tmp_path / "first", backbone)
    export_peft(task, tmp_path / "again")
    loaded = PeftModel.from_pretrained(build_base(backbone), str(tmp_path / "again"))
    assert_alike(answer_ours(task, backbone), answer_peft(loaded, backbone))
    assert same_task(import_peft(tmp_path / "again", backbone), task)


def test_statistics_that_training_changed_are_refused(tmp_path: Path) -> None:
    backbone = draw_backbone(RESNET)
    settings = {"target_modules": ["conv2"], "modules_to_save": ["fc", "layer1.0.bn1"]}
    model = train_in_peft(backbone, settings, tmp_path)
    model.train()(draw_images(3, backbone.preprocessing.size[0]))
    model.save_pretrained(str(tmp_path))
    with pytest.raises(TaskFileError, match=r"'layer1.0.bn1.running_mean' was changed in training"):
        import_peft(tmp_path, backbone)


def test_dora_is_refused_with_its_field(tmp_path: Path) -> None:
    backbone = draw_backbone(VIT)
    train_in_peft(backbone, {"target_modules": ["qkv"], "use_dora": True}, tmp_path)
    with pytest.raises(TaskFileError, match="'use_dora' is True; only plain LoRA"):
        import_peft(tmp_path, backbone)


def test_an_adapter_without_a_classifier_is_refused(tmp_path: Path) -> None:
    backbone = draw_backbone(VIT)
    settings = {"target_modules": ["qkv"], "modules_to_save": None}
    train_in_peft(backbone, settings, tmp_path)
    with pytest.raises(TaskFileError, match=r"no classifier.*modules_to_save=\['head'\]"):
        import_peft(tmp_path, backbone)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["modules_to_save"] is None
