"""Tasks to PEFT's two files: what PEFT loads over the same timm model, with the same logits.

The model on PEFT's side is `timm.create_model(name, num_classes=n)`: PEFT replaces its
classifier by the task's head, which travels as a module that is kept whole.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from medlora.backbones.classifier import create_with_classifier, find_classifiers, place_head
from medlora.backbones.weights import Backbone
from medlora.errors import TaskFileError
from medlora.exchange.adoption import adopt_adapter
from medlora.exchange.companion import (
    CARD_FILE,
    Companion,
    compute_seal,
    pack_companion,
    unpack_companion,
)
from medlora.exchange.peft_config import CONFIG_FILE, format_config, read_config
from medlora.exchange.peft_tensors import WEIGHTS_FILE, pack_tensors, unpack_tensors
from medlora.exchange.updates import check_fit, collect_updates
from medlora.storage import read_file, write_atomically
from medlora.task.file import Task, check_backbone
from medlora.task.layout import HEAD_BIAS, HEAD_WEIGHT, TRAINED_PREFIX
from medlora.task.novelty import list_entries

PICKLED_FILE = "adapter_model.bin"


def pack_peft(task: Task, backbone: Backbone | None = None) -> dict[str, bytes]:
    """A low-rank task as PEFT's files, and the card beside them.

    In PEFT a layer has one A and one B. A task that adapts parts of a fused layer has a pair
    for each: they become blocks of one pair of a larger rank. Alpha changes with the rank, so
    that the product is the same.

    Args:
        task: The task; its method must be `lora`.
        backbone: Its backbone; needed only where normalisations with statistics were trained,
            since PEFT keeps modules whole.

    Returns:
        `adapter_model.safetensors`, `medlora_card.json` and `adapter_config.json` by name.

    Raises:
        TaskFileError: The task holds no adapter, or something that PEFT cannot apply.
        WrongBackboneError: The backbone is not the task's.
        BackboneError: timm's model has no plain classifier.
    """
    card = task.card
    place = f"Task {card.name!r}"
    if card.method != "lora" or card.adapter is None:
        raise TaskFileError(
            f"{place} was trained by the method {card.method!r}; PEFT's files hold low-rank "
            "adapters alone. Write it as a checkpoint: medlora tasks merge."
        )
    if backbone is not None:
        check_backbone(task, backbone.name, backbone.fingerprint, place)
    with torch.device("meta"):
        model = create_with_classifier(card.backbone.name, len(card.classes))
    updates = collect_updates(task)
    for path, update in updates.items():
        check_fit(model, path, update, place)
    classifiers = find_classifiers(model)
    saved: dict[str, Tensor] = {}
    for name, layer in classifiers.items():
        head = place_head(layer, task.tensors[HEAD_WEIGHT], task.tensors[HEAD_BIAS])
        saved[f"{name}.weight"], saved[f"{name}.bias"] = head
    trained = _list_trained(task)
    modules = _complete_modules(task, trained, model, backbone, saved)
    whole = [*classifiers, *modules]
    _check_names(model, list(updates), whole, place)
    config = format_config(
        updates,
        backbone=card.backbone.name,
        dropout=card.adapter.dropout,
        targets=_choose_targets(model, list(updates)),
        saved=whole,
    )
    weights = pack_tensors(updates, saved)
    # Over what will be read, so that no rounding on the way can break the seal.
    read = unpack_tensors(weights, place)
    kept = {name: task.tensors[name] for name in list_entries(card.novelty)}
    seal = compute_seal(
        card, trained, read_config(config, place), read.pairs, {**read.saved, **kept}
    )
    return {
        WEIGHTS_FILE: weights,
        CARD_FILE: pack_companion(Companion(card, trained, seal, kept)),
        CONFIG_FILE: config,
    }


def needs_backbone(task: Task) -> bool:
    """Whether `pack_peft` may need the backbone's own values beside those that were trained."""
    return bool(_list_trained(task))


def export_peft(task: Task, folder: Path, backbone: Backbone | None = None) -> None:
    """Write a task's files for PEFT into a folder, the configuration last.

    A folder without configuration is none that PEFT loads, so it never meets a half of one.

    Raises:
        TaskFileError: As for `pack_peft`.
        StorageError: The folder cannot be written to.
    """
    files = pack_peft(task, backbone)
    config = folder / CONFIG_FILE
    if config.exists():
        config.unlink()
    for name, content in files.items():
        write_atomically(folder / name, content)


def import_peft(
    folder: Path,
    backbone: Backbone,
    *,
    name: str | None = None,
    classes: Sequence[str] = (),
    multi_label: bool | None = None,
) -> Task:
    """The task in a folder that PEFT, or `export_peft`, wrote. Nothing is unpickled.

    Args:
        folder: Holds `adapter_config.json` and `adapter_model.safetensors`.
        backbone: The backbone that the adapter was trained on.
        name: The task's name; where there is no card, the folder's if not given.
        classes: Names of the classes, in the order of the head's outputs.
        multi_label: Whether an image may have several classes.

    Raises:
        StorageError: A file is missing or cannot be read.
        TaskFileError: As for `medlora.exchange.adoption.adopt_adapter`.
    """
    if not (folder / WEIGHTS_FILE).exists() and (folder / PICKLED_FILE).exists():
        raise TaskFileError(
            f"{folder / PICKLED_FILE} is pickled, and reading it could run code of a stranger. "
            "Save the adapter with safe_serialization=True."
        )
    files = {
        CONFIG_FILE: read_file(folder / CONFIG_FILE, "configuration of PEFT"),
        WEIGHTS_FILE: read_file(folder / WEIGHTS_FILE, "adapter"),
    }
    if (folder / CARD_FILE).exists():
        files[CARD_FILE] = read_file(folder / CARD_FILE, "task card")
    return adopt_adapter(
        files,
        backbone,
        name=name,
        classes=classes,
        multi_label=multi_label,
        place=folder.resolve().name,
    )


def find_backbone_name(folder: Path) -> str | None:
    """The backbone's timm name by the card in a folder; None where there is no card.

    Raises:
        TaskFileError: The card is damaged.
    """
    path = folder / CARD_FILE
    if not path.exists():
        return None
    return unpack_companion(read_file(path, "task card"), str(path)).card.backbone.name


def _list_trained(task: Task) -> tuple[str, ...]:
    return tuple(
        name.removeprefix(TRAINED_PREFIX)
        for name in task.tensors
        if name.startswith(TRAINED_PREFIX)
    )


def _complete_modules(
    task: Task,
    trained: Sequence[str],
    model: nn.Module,
    backbone: Backbone | None,
    saved: dict[str, Tensor],
) -> list[str]:
    """Add every tensor of the modules that hold trained ones to `saved`; the modules' names."""
    place = f"Task {task.card.name!r}"
    known = dict(model.named_modules())
    frozen: Mapping[str, Tensor] = backbone.model.state_dict() if backbone else {}
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in trained))
    for module in modules:
        if not module or module not in known:
            raise TaskFileError(
                f"{place} also trained {next(n for n in trained if n.startswith(module))!r}, and "
                "PEFT keeps whole modules alone. Write it as a checkpoint: medlora tasks merge."
            )
        for key in known[module].state_dict():
            full = f"{module}.{key}"
            own = task.tensors.get(f"{TRAINED_PREFIX}{full}", frozen.get(full))
            if own is None:
                raise TaskFileError(
                    f"{place}: PEFT keeps whole modules, and {full!r} stayed the backbone's. "
                    "Give the backbone as well."
                )
            saved[full] = own
    return modules


def _check_names(
    model: nn.Module, targets: Sequence[str], whole: Sequence[str], place: str
) -> None:
    """Refuse names that PEFT, which looks at their endings, would also find elsewhere."""
    for name, module in model.named_modules():
        also_kept = name not in whole and name.endswith(tuple(whole)) and module.state_dict()
        left_out = name in targets and any(
            re.match(rf"(^|.*\.){kept}($|\..*)", name) for kept in whole
        )
        if also_kept or left_out:
            raise TaskFileError(
                f"{place}: PEFT would take {name!r} for one of the modules that are kept whole "
                f"({', '.join(whole[:3])}). Write it as a checkpoint: medlora tasks merge."
            )


def _choose_targets(model: nn.Module, paths: Sequence[str]) -> list[str] | str:
    """The layers' names; one pattern where PEFT would find a name at the end of another's."""
    endings = tuple(f".{path}" for path in paths)
    if any(name.endswith(endings) for name, _ in model.named_modules()):
        return "|".join(re.escape(path) for path in paths)
    return list(paths)
