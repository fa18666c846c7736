"""Tasks on small backbones, and PEFT's files of them with single faults."""

import json
from collections.abc import Callable
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from medlora.exchange.companion import CARD_FILE
from medlora.exchange.peft import pack_peft
from medlora.exchange.peft_config import CONFIG_FILE
from medlora.exchange.peft_tensors import WEIGHTS_FILE
from medlora.task.file import Task
from medlora.task.model import plan_adapter
from medlora.task.records import BackboneReference
from medlora.task.trained import find_normalisations
from tests.unit.task.model_samples import VIT, draw_backbone, make_model
from tests.unit.task.task_samples import make_card

CLASSES = ("none", "benign", "malignant")
THRESHOLDS = (0.2, 0.3, 0.5)


def make_exchange_task(name: str = VIT, *, normalisations: bool = False, **settings: Any) -> Task:
    """A randomised low-rank task of three classes."""
    backbone = draw_backbone(name)
    values = {"rank": 2, "alpha": 3.0} | settings
    trained = find_normalisations(backbone.model) if normalisations else ()
    model = make_model(name, n_classes=3, trained=trained, **values)
    card = make_card(
        classes=CLASSES,
        thresholds=THRESHOLDS,
        backbone=BackboneReference(name, backbone.fingerprint),
        preprocessing=backbone.preprocessing,
        adapter=plan_adapter(backbone, **values),
        self_check=None,
    )
    return Task(card, model.collect_tensors())


def strange_files(name: str = VIT, **settings: Any) -> dict[str, bytes]:
    """PEFT's two files as a stranger has them: without a card."""
    files = pack_peft(make_exchange_task(name, **settings))
    del files[CARD_FILE]
    return files


def edit_config(files: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    config = json.loads(files[CONFIG_FILE]) | changes
    return files | {CONFIG_FILE: json.dumps(config).encode()}


def edit_tensors(
    files: dict[str, bytes], edit: Callable[[dict[str, Tensor]], Any]
) -> dict[str, bytes]:
    tensors = load(files[WEIGHTS_FILE])
    edit(tensors)
    return files | {WEIGHTS_FILE: save(tensors, {"format": "pt"})}


def edit_card(files: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    values = json.loads(files[CARD_FILE])
    values["card"] |= changes
    return files | {CARD_FILE: json.dumps(values).encode()}
