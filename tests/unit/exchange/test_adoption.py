from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medlora.errors import MedLoRAError, SettingsError, TaskFileError, WrongBackboneError
from medlora.exchange import adoption
from medlora.exchange.adoption import adopt_adapter
from medlora.exchange.companion import CARD_FILE
from medlora.exchange.peft import pack_peft
from medlora.exchange.peft_config import CONFIG_FILE
from medlora.exchange.peft_tensors import WEIGHTS_FILE
from medlora.task.file import Task, pack_task
from medlora.task.opening import build_model, record_self_check, run_self_check
from tests.unit.exchange.peft_samples import (
    CLASSES,
    THRESHOLDS,
    edit_card,
    edit_config,
    edit_tensors,
    make_exchange_task,
    strange_files,
)
from tests.unit.task.model_samples import RESNET, VIT, draw_backbone, draw_images
from tests.unit.task.task_samples import same_task

HEAD = "base_model.model.head"
FIRST = "base_model.model.blocks.0.attn.qkv"


@torch.inference_mode()
def answer(task: Task, name: str = VIT) -> torch.Tensor:
    backbone = draw_backbone(name)
    logits: torch.Tensor = build_model(task, backbone, place="here")(draw_images())
    return logits


def adopt(files: dict[str, bytes], **options: Any) -> Task:
    return adopt_adapter(files, draw_backbone(VIT), **options)


def test_an_untouched_export_is_the_same_task_with_its_self_check() -> None:
    backbone, task = draw_backbone(VIT), make_exchange_task(VIT)
    model = build_model(task, backbone, place="here")
    check = record_self_check(model, task.card.preprocessing, multi_label=False)
    proven = Task(replace(task.card, self_check=check), task.tensors)
    again = adopt(pack_peft(proven))
    assert same_task(again, proven)
    assert pack_task(again) == pack_task(proven)


def test_names_may_be_given_to_an_untouched_export() -> None:
    again = adopt(pack_peft(make_exchange_task()), name="mine", classes=("a", "b", "c"))
    assert (again.card.name, again.card.classes) == ("mine", ("a", "b", "c"))
    assert again.card.thresholds == THRESHOLDS


def test_the_kind_of_an_untouched_export_stays() -> None:
    files = pack_peft(make_exchange_task())
    assert not adopt(files, multi_label=False).card.multi_label
    with pytest.raises(SettingsError, match="its thresholds and scores hold for that alone"):
        adopt(files, multi_label=True)


def test_a_strangers_adapter_answers_alike_and_owns_up_to_what_is_unknown() -> None:
    task = make_exchange_task(targets=("attention",), scaling="alpha/sqrt(rank)")
    files = edit_config(strange_files(targets=("attention",), scaling="alpha/sqrt(rank)"))
    imported = adopt(edit_config(files, peft_version="0.17.0"), place="folder")
    torch.testing.assert_close(answer(imported), answer(task), rtol=1e-5, atol=1e-5)
    card = imported.card
    assert (card.name, card.classes) == ("folder", ("class 0", "class 1", "class 2"))
    assert card.thresholds == (1 / 3,) * 3
    assert "scores and intended use are unknown" in card.note
    assert "the most probable class wins" in card.note
    assert card.preprocessing == draw_backbone(VIT).preprocessing
    assert (card.data, card.metrics) == ({}, {})
    assert card.software == {"peft": "0.17.0"}
    assert card.adapter is not None
    # q, k and v share an A in PEFT: three parts of rank 2 are one whole of rank 6.
    assert (card.adapter.rank, card.adapter.layers["blocks.0.attn.qkv"]) == (6, ())
    assert run_self_check(imported, draw_backbone(VIT), place="here") < 1e-6


def test_a_strangers_multi_label_adapter() -> None:
    card = adopt(strange_files(), classes=CLASSES, multi_label=True, name="x").card
    assert (card.multi_label, card.thresholds, card.classes) == (True, (0.5,) * 3, CLASSES)
    assert "a class is found at a probability of 0.5" in card.note


def test_a_grouped_convolution_comes_in(name: str = "test_efficientnet") -> None:
    task = make_exchange_task(name, targets=("conv",))
    files = strange_files(name, targets=("conv",))
    imported = adopt_adapter(files, draw_backbone(name))
    torch.testing.assert_close(answer(imported, name), answer(task, name), rtol=1e-5, atol=1e-5)


def test_trained_normalisations_come_in_and_frozen_statistics_stay_out() -> None:
    task, backbone = make_exchange_task(RESNET, normalisations=True), draw_backbone(RESNET)
    files = pack_peft(task, backbone)
    del files[CARD_FILE]
    imported = adopt_adapter(files, backbone)
    trained = {name for name in task.tensors if name.startswith("trained.")}
    assert trained == {name for name in imported.tensors if name.startswith("trained.")}
    torch.testing.assert_close(answer(imported, RESNET), answer(task, RESNET), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda files: edit_card(files, thresholds=[0.5, 0.5, 0.5]), CLASSES),
        (lambda files: edit_config(files, lora_alpha=5), CLASSES),
        (lambda files: edit_tensors(files, lambda t: t[f"{HEAD}.bias"].add_(1)), CLASSES),
    ],
    ids=["card", "alpha", "head"],
)
def test_any_change_after_the_export_takes_scores_and_thresholds_away(change, kept) -> None:
    card = adopt(change(pack_peft(make_exchange_task()))).card
    assert card.note.startswith("Changed by another program after MedLoRA had exported it.")
    assert card.note.endswith("Its note was: Second reader of adult films only.")
    assert (card.classes, card.thresholds, card.metrics) == (kept, (1 / 3,) * 3, {})


def test_a_head_with_other_classes_than_the_cards_gets_numbers() -> None:
    def cut(tensors: dict[str, torch.Tensor]) -> None:
        for kind in ("weight", "bias"):
            tensors[f"{HEAD}.{kind}"] = tensors[f"{HEAD}.{kind}"][:2].clone()

    card = adopt(edit_tensors(pack_peft(make_exchange_task()), cut)).card
    assert card.classes == ("class 0", "class 1")


def test_the_cards_backbone_must_be_this_one() -> None:
    files = pack_peft(make_exchange_task())
    with pytest.raises(WrongBackboneError, match="'tb-cxr' was trained on backbone test_vit@"):
        adopt_adapter(files, draw_backbone(VIT, seed=1))


def test_as_many_classes_as_outputs() -> None:
    with pytest.raises(SettingsError, match="has 3 outputs, and 2 classes were named"):
        adopt(strange_files(), classes=("a", "b"))


def test_one_output_is_multi_label() -> None:
    def cut(tensors: dict[str, torch.Tensor]) -> None:
        for kind in ("weight", "bias"):
            tensors[f"{HEAD}.{kind}"] = tensors[f"{HEAD}.{kind}"][:1].clone()

    files = edit_tensors(strange_files(), cut)
    with pytest.raises(SettingsError, match="Import it with --multi-label"):
        adopt(files)
    assert adopt(files, multi_label=True).card.classes == ("class 0",)


@pytest.mark.parametrize("missing", [CONFIG_FILE, WEIGHTS_FILE])
def test_both_files_are_needed(missing: str) -> None:
    files = strange_files()
    del files[missing]
    with pytest.raises(TaskFileError, match=f"the file '{missing}' is missing"):
        adopt(files)


def replace_head(**changes: torch.Tensor) -> Any:
    return lambda t: t.update({f"{HEAD}.{kind}": value for kind, value in changes.items()})


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (lambda t: t.pop(f"{HEAD}.bias"), r"no classifier.*modules_to_save=\['head'\]"),
        (replace_head(weight=torch.ones(3, 8)), r"\(3, 8\) and \(3,\); this backbone gives 64"),
        (replace_head(bias=torch.ones(2)), r"\(3, 64\) and \(2,\); this backbone gives 64"),
        (replace_head(bias=torch.ones(3, 1)), r"\(3, 64\) and \(3, 1\)"),
        (replace_head(bias=torch.full((3,), torch.nan)), "the classifier holds NaN"),
        (replace_head(bias=torch.ones(3, dtype=torch.int64)), "numbers without a point"),
        (
            lambda t: t.update({f"{FIRST}.lora_B.weight": torch.ones(192, 5)}),
            r"'blocks.0.attn.qkv' has the shapes \(4, 64\) and \(192, 5\)",
        ),
        (
            lambda t: t.update(
                {
                    f"{FIRST}.lora_A.weight": torch.ones(2, 64),
                    f"{FIRST}.lora_B.weight": torch.ones(192, 2),
                }
            ),
            "has rank 2; the configuration says 4",
        ),
        (
            lambda t: [t.pop(key) for key in list(t) if ".lora_" in key],
            "holds no A and no B of any layer",
        ),
        (
            lambda t: t.update({"base_model.model.blocks.9.norm1.weight": torch.ones(64)}),
            "'blocks.9.norm1.weight' of shape .* has no place in test_vit",
        ),
        (
            lambda t: t.update({"base_model.model.norm.weight": torch.full((64,), torch.inf)}),
            "'trained.norm.weight' holds NaN or infinity",
        ),
    ],
)
def test_tensors_that_are_no_whole_adapter_of_the_backbone_are_refused(edit, fault) -> None:
    with pytest.raises(TaskFileError, match=fault):
        adopt(edit_tensors(strange_files(), edit))


def test_trained_layers_that_carry_an_update_are_refused() -> None:
    def add(tensors: dict[str, torch.Tensor]) -> None:
        tensors[f"{FIRST}.weight"] = torch.ones(192, 64)

    with pytest.raises(TaskFileError, match=r"qkv.weight' cannot be trained: it carries"):
        adopt(edit_tensors(strange_files(), add))


def test_two_classifiers_that_differ_are_refused() -> None:
    name = "deit_tiny_distilled_patch16_224"
    files = strange_files(name, targets=("blocks.0.attn.proj",))
    other = "base_model.model.head_dist.bias"
    with pytest.raises(TaskFileError, match="classifiers head, head_dist are not the same"):
        adopt_adapter(edit_tensors(files, lambda t: t[other].add_(1)), draw_backbone(name))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"adapter": None}, "'adapter' must be settings for the method 'lora'"),
        ({"method": "linear", "adapter": None}, "describes other tensors"),
        ({"preprocessing": None}, "'preprocessing' must be an object"),
        ("layers", "describes other tensors than those that are there"),
        ("parts", "has no parts q, x"),
        ("size", "cannot answer for images"),
    ],
)
def test_a_forged_seal_opens_nothing(changes, fault, monkeypatch) -> None:
    files = pack_peft(make_exchange_task())
    task = make_exchange_task()
    assert task.card.adapter is not None
    adapter = task.card.adapter.to_dict()
    if changes == "layers":
        adapter["layers"].popitem()
    if changes == "parts":
        adapter["layers"]["blocks.0.attn.qkv"] = ["q", "x"]
    values = {"adapter": adapter} if isinstance(changes, str) else changes
    if changes == "size":
        values = {"preprocessing": task.card.preprocessing.to_dict() | {"size": [7, 7]}}
    monkeypatch.setattr(adoption, "_is_sealed", lambda companion, adapter: True)
    with pytest.raises(TaskFileError, match=fault):
        adopt(edit_card(files, **values))


WHOLE = pack_peft(make_exchange_task())
STRANGE = {name: WHOLE[name] for name in (CONFIG_FILE, WEIGHTS_FILE)}


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damage_gives_one_line_or_a_task(data: st.DataObject) -> None:
    files = dict(data.draw(st.sampled_from([WHOLE, STRANGE])))
    name = data.draw(st.sampled_from(sorted(files)))
    # Most of the weights are numbers, in which a change is none that anybody could notice.
    content = bytearray(files[name])
    last = min(len(content), 6000) - 1
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, last))
        kind = data.draw(st.sampled_from(["flip", "cut", "put"]))
        if kind == "flip" and place < len(content):
            content[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del content[place : place + data.draw(st.integers(1, 8))]
        else:
            content[place:place] = data.draw(st.binary(min_size=1, max_size=8))
    files[name] = bytes(content)
    try:
        task = adopt(files)
    except MedLoRAError as error:
        assert "\n" not in str(error)
    else:
        pack_task(task)
