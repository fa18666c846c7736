"""PEFT's files to a task: what they say, and what they leave unknown."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from medlora.backbones.weights import Backbone
from medlora.errors import SettingsError, TaskFileError
from medlora.exchange.companion import CARD_FILE, Companion, compute_seal, unpack_companion
from medlora.exchange.peft_adapter import PeftAdapter, find_trained, read_adapter
from medlora.exchange.updates import gather_groups, split_parts, unify_ranks
from medlora.task.card import MAX_NOTE_LENGTH, TaskCard
from medlora.task.file import Task, check_backbone, pack_task
from medlora.task.layout import HEAD_BIAS, HEAD_WEIGHT, TRAINED_PREFIX
from medlora.task.opening import build_model, record_self_check, run_self_check
from medlora.task.records import AdapterSettings, BackboneReference

UNKNOWN_NOTE = (
    "Imported from PEFT. Its training data, scores and intended use are unknown. The "
    "preprocessing is the backbone's own. No thresholds were chosen: {rule}. Evaluate it before "
    "any use."
)
CHANGED_NOTE = (
    "Changed by another program after MedLoRA had exported it. Its scores no longer hold and "
    "were left out, and its thresholds were reset: {rule}. Evaluate it before any use."
)
_RULES = {True: "a class is found at a probability of 0.5", False: "the most probable class wins"}


def adopt_adapter(
    files: Mapping[str, bytes],
    backbone: Backbone,
    *,
    name: str | None = None,
    classes: Sequence[str] = (),
    multi_label: bool | None = None,
    place: str = "adapter",
) -> Task:
    """The task in PEFT's files.

    If MedLoRA exported them and nothing in them has changed, it is the task that was exported.
    Otherwise the card says what is unknown, and a new self-check is recorded.

    Args:
        files: `adapter_config.json` and `adapter_model.safetensors` by name, and
            `medlora_card.json` where there is one.
        backbone: The backbone that the adapter was trained on.
        name: The task's name; `place` if neither this nor a card gives one.
        classes: Names of the classes, in the order of the head's outputs; `class 0`,
            `class 1`, ... if neither this nor a card gives them.
        multi_label: Whether an image may have several classes; no, if neither this nor a card
            says so.
        place: Where the files came from, for errors.

    Raises:
        TaskFileError: The files are damaged, hold another kind of adapter than plain LoRA, do
            not fit the backbone, or hold no classifier.
        WrongBackboneError: The card names another backbone.
        SettingsError: The classes do not fit the number of the classifier's outputs.
    """
    content = files.get(CARD_FILE)
    companion = unpack_companion(content, f"{place}/{CARD_FILE}") if content else None
    if companion:
        check_backbone(Task(companion.card, {}), backbone.name, backbone.fingerprint, place)
    adapter = read_adapter(files, backbone, place)
    n_classes = len(adapter.bias)
    if classes and len(classes) != n_classes:
        raise SettingsError(
            f"The classifier in {place} has {n_classes} outputs, and {len(classes)} classes were "
            "named. Name each output once, in their order."
        )
    known = companion.card if companion else None
    title = name or (known.name if known else place)
    named = tuple(classes) or (known.classes if known and len(known.classes) == n_classes else ())
    if companion and _is_sealed(companion, adapter):
        if multi_label not in (None, companion.card.multi_label):
            raise SettingsError(
                f"The card in {place} says whether an image may have several classes, and its "
                "thresholds and scores hold for that alone. Leave the option away."
            )
        card = replace(companion.card, name=title, classes=named)
        task = Task(card, _restore_tensors(companion, adapter, backbone.model, place))
    else:
        several = bool(known and known.multi_label) if multi_label is None else multi_label
        settings, tensors = _convert(adapter, backbone, place)
        named = named or tuple(f"class {index}" for index in range(n_classes))
        card = _describe(adapter, settings, backbone, known, title, named, several)
        task = Task(card, tensors)
    # What could not be saved is no task; better said here than after a longer way.
    pack_task(task)
    return _prove(task, backbone, place)


def _prove(task: Task, backbone: Backbone, place: str) -> Task:
    """The task after it has answered; with a self-check where it had none."""
    card = task.card
    try:
        if card.self_check is not None:
            run_self_check(task, backbone, place=place)
            return task
        model = build_model(task, backbone, place=place)
        check = record_self_check(model, card.preprocessing, multi_label=card.multi_label)
    except (AssertionError, RuntimeError) as error:
        # A card may name an image size that the network was not built for.
        raise TaskFileError(
            f"{place}: {backbone.name} cannot answer for images that are prepared as the card "
            f"says, with size {card.preprocessing.size}. Export the task again."
        ) from error
    if "imported_from" not in card.training:
        return task
    return Task(replace(card, self_check=check), task.tensors)


def _is_sealed(companion: Companion, adapter: PeftAdapter) -> bool:
    """Whether nothing has changed since MedLoRA exported it."""
    tensors = adapter.tensors
    saved = {**tensors.saved, **companion.novelty}
    seal = compute_seal(companion.card, companion.trained, adapter.config, tensors.pairs, saved)
    return seal == companion.seal


def _restore_tensors(
    companion: Companion, adapter: PeftAdapter, model: nn.Module, place: str
) -> dict[str, Tensor]:
    """The tensors that were exported, to the bit."""
    layers = companion.card.adapter.layers if companion.card.adapter else {}
    missing = set(companion.trained) - adapter.beside.keys()
    if layers.keys() != adapter.updates.keys() or missing:
        raise TaskFileError(
            f"{place}: its card describes other tensors than those that are there. Export the "
            "task again."
        )
    tensors = {HEAD_WEIGHT: adapter.weight, HEAD_BIAS: adapter.bias}
    for path, parts in layers.items():
        update = adapter.updates[path]
        if parts:
            for part, (down, up) in split_parts(update, parts, place).items():
                tensors[f"adapter.{path}.{part}.A"] = down
                tensors[f"adapter.{path}.{part}.B"] = up
        else:
            groups = _count_groups(model, path)
            tensors[f"adapter.{path}.A"] = gather_groups(update.down, groups, place)
            tensors[f"adapter.{path}.B"] = update.up
    for name in companion.trained:
        tensors[f"{TRAINED_PREFIX}{name}"] = adapter.beside[name]
    return tensors | dict(companion.novelty)


def _convert(
    adapter: PeftAdapter, backbone: Backbone, place: str
) -> tuple[AdapterSettings, dict[str, Tensor]]:
    """Adapter settings and tensors of a task that answers like the adapter.

    Q, k and v share one A in PEFT, so that a fused layer is adapted as a whole.
    """
    updates = {
        path: replace(
            update,
            down=gather_groups(update.down, _count_groups(backbone.model, path), place),
        )
        for path, update in adapter.updates.items()
    }
    rank, scale, pairs = unify_ranks(updates)
    tensors = {HEAD_WEIGHT: adapter.weight, HEAD_BIAS: adapter.bias}
    for path, (down, up) in pairs.items():
        tensors[f"adapter.{path}.A"], tensors[f"adapter.{path}.B"] = down, up
    for name, tensor in find_trained(adapter, backbone, place).items():
        tensors[f"{TRAINED_PREFIX}{name}"] = tensor
    settings = AdapterSettings(
        rank=rank,
        alpha=scale * rank,
        scaling="alpha/rank",
        dropout=adapter.config.dropout,
        layers=dict.fromkeys(pairs, ()),
    )
    return settings, tensors


def _describe(
    adapter: PeftAdapter,
    settings: AdapterSettings,
    backbone: Backbone,
    known: TaskCard | None,
    name: str,
    classes: tuple[str, ...],
    multi_label: bool,
) -> TaskCard:
    """A card that owns up to what is not known of the task."""
    if len(classes) < 2 and not multi_label:
        raise SettingsError(
            "The classifier has one output, which is a class that an image may have or not. "
            "Import it with --multi-label."
        )
    note = (CHANGED_NOTE if known else UNKNOWN_NOTE).format(rule=_RULES[multi_label])
    if known and known.note:
        note += f" Its note was: {known.note}"
    version = adapter.config.version
    return TaskCard(
        name=name,
        classes=classes,
        multi_label=multi_label,
        method="lora",
        backbone=BackboneReference(backbone.name, backbone.fingerprint),
        preprocessing=known.preprocessing if known else backbone.preprocessing,
        adapter=settings,
        thresholds=((0.5 if multi_label else 1 / len(classes)),) * len(classes),
        training={"imported_from": "PEFT"},
        software={"peft": version} if version else {},
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        note=note[:MAX_NOTE_LENGTH],
    )


def _count_groups(model: nn.Module, path: str) -> int:
    layer = model.get_submodule(path)
    return layer.groups if isinstance(layer, nn.Conv2d) else 1
