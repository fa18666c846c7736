import gc
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bank_samples import answer_apart, draw_pictures, make_task
from medlora.backbones.fingerprint import compute_fingerprint
from medlora.backbones.weights import load_backbone
from medlora.bank.bank import TaskBank
from medlora.bank.pixels import gather_inputs, name_pixels
from medlora.errors import (
    DataError,
    MedLoRAError,
    SelfCheckError,
    TaskBankError,
    TaskFileError,
    WrongBackboneError,
)
from medlora.task.file import Task, save_task
from medlora.task.folder import TaskFolder
from medlora.task.opening import build_model
from medlora.task.trained import find_normalisations
from medlora.task.trust import ConformalRecord
from novelty_samples import keep_novelty, score_apart
from tests.unit.task.model_samples import RESNET, VIT, draw_backbone


def make_vit_task(name: str, **settings: Any) -> Task:
    return make_task(draw_backbone(VIT), name, **settings)


def make_bank(**settings: Any) -> TaskBank:
    return TaskBank(draw_backbone(VIT), **settings)


def count_bytes(task: Task) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in task.tensors.values())


def test_answers_come_in_the_order_asked_and_know_their_classes() -> None:
    bank = make_bank()
    bank.add(make_vit_task("brain", n_classes=3))
    bank.add(make_vit_task("quality", multi_label=True, n_classes=4, seed=1))
    assert bank.names == ("brain", "quality")
    answers = bank.predict(draw_pictures(2), [["quality", "brain"], "brain"])
    assert [list(found) for found in answers] == [["quality", "brain"], ["brain"]]
    brain, quality = answers[0]["brain"], answers[0]["quality"]
    assert brain.task == "brain"
    assert brain.classes == ("brain 0", "brain 1", "brain 2")
    assert sum(brain.probabilities) == pytest.approx(1)
    assert len(brain.decision) == 1
    assert set(quality.decision) == {
        name
        for name, value in zip(quality.classes, quality.probabilities, strict=True)
        if value >= 0.5
    }


def test_an_answer_that_should_not_be_used_says_why() -> None:
    never = ConformalRecord(0.9, False, (0.0, 0.0), (), "val", (5, 5), 10)
    tasks = [make_vit_task("open"), make_vit_task("plain", seed=1)]
    card = replace(tasks[0].card, conformal=never)
    bank = make_bank()
    bank.add(Task(card, tasks[0].tensors))
    bank.add(tasks[1])
    (found,) = bank.predict(draw_pictures(1), [["open", "plain"]])
    assert found["open"].abstain == "undecided between open 0 and open 1"
    assert found["open"].prediction_set == ("open 0", "open 1")
    assert len(found["open"].decision) == 1
    assert (found["plain"].abstain, found["plain"].prediction_set) == ("", None)


@pytest.mark.parametrize("batch_size", [1, 64])
def test_every_task_says_how_unlike_its_own_training_images_an_image_is(batch_size: int) -> None:
    backbone = draw_backbone(VIT)
    norms = find_normalisations(backbone.model)[:1]
    tasks = {
        "adapted": keep_novelty(make_vit_task("adapted"), backbone),
        "strict": keep_novelty(make_vit_task("strict", seed=1), backbone, limit=1e-3),
        "darker": keep_novelty(make_vit_task("darker", method="linear", mean=0.1), backbone),
        "normed": keep_novelty(make_vit_task("normed", trained=norms), backbone),
        "plain": make_vit_task("plain", method="linear"),
    }
    bank = make_bank()
    for task in tasks.values():
        bank.add(task)
    pictures = draw_pictures(3)
    for picture, found in zip(
        pictures, bank.predict(pictures, [bank.names] * 3, batch_size=batch_size), strict=True
    ):
        assert (found["plain"].novelty, found["plain"].abstain) == (None, "")
        for name in ("adapted", "strict", "darker", "normed"):
            expected = score_apart(tasks[name], backbone, picture)
            assert found[name].novelty == pytest.approx(expected, rel=1e-3)
        assert found["strict"].abstain == "unlike the training images"


def test_what_is_kept_of_training_images_counts_as_memory() -> None:
    task = make_vit_task("one")
    kept = keep_novelty(task, draw_backbone(VIT))
    banks = [make_bank(), make_bank()]
    for bank, own in zip(banks, (task, kept), strict=True):
        bank.add(own)
    assert banks[1].n_bytes - banks[0].n_bytes == count_bytes(kept) - count_bytes(task)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_answers_do_not_depend_on_where_batches_end(batch_size: int) -> None:
    bank = make_bank()
    tasks = {name: make_vit_task(name, seed=seed) for seed, name in enumerate(("a", "b", "c"))}
    for task in tasks.values():
        bank.add(task)
    pictures = draw_pictures(4)
    asked = [["a", "b"], ["c"], ["a", "b", "c"], ["b"]]
    answers = bank.predict(pictures, asked, batch_size=batch_size)
    for picture, names, found in zip(pictures, asked, answers, strict=True):
        assert list(found) == names
        for name in names:
            expected = answer_apart(tasks[name], draw_backbone(VIT), picture)
            assert np.abs(np.array(found[name].probabilities) - expected).max() < 1e-5


def test_tasks_may_prepare_images_each_in_its_way() -> None:
    bank = make_bank()
    tasks = [
        make_vit_task("plain"),
        make_vit_task("darker", mean=0.1),
        make_vit_task("equalised", contrast="equalize"),
    ]
    for task in tasks:
        bank.add(task)
    (picture,) = draw_pictures(1)
    prepared = bank.prepare(picture, bank.names)
    assert len(prepared) == 2, "pixels that are the same are prepared once"
    (answers,) = bank.predict([picture], [bank.names])
    for task in tasks:
        expected = answer_apart(task, draw_backbone(VIT), picture)
        assert np.abs(np.array(answers[task.card.name].probabilities) - expected).max() < 1e-5


def test_an_image_is_an_input_once_for_each_way_of_preparing_it() -> None:
    bank = make_bank()
    for name, mean in (("a", None), ("b", None), ("c", 0.2)):
        bank.add(make_vit_task(name, mean=mean))
    (picture,) = draw_pictures(1)
    prepared = [bank.prepare(picture, bank.names)]
    wanted = [(0, bank.card(name).preprocessing) for name in bank.names]
    inputs, numbers = gather_inputs(prepared, wanted, torch.float32, torch.device("cpu"))
    assert len(inputs) == 2
    assert numbers == [0, 0, 1]


def test_heads_without_adapters_share_the_row_of_their_image() -> None:
    bank = make_bank()
    for number in range(3):
        bank.add(make_vit_task(f"head {number}", method="linear", seed=number))
    sizes: list[int] = []
    bank._network.network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    bank.predict(draw_pictures(2), [bank.names] * 2)
    assert sizes == [2]


@pytest.mark.parametrize("method", ["lora", "linear"])
def test_a_task_of_another_backbone_is_refused_with_both_fingerprints(method: Any) -> None:
    other = make_task(draw_backbone(VIT, seed=9), "stranger", method=method)
    bank = make_bank()
    theirs, ours = other.card.backbone.fingerprint[:6], bank.backbone.fingerprint[:6]
    with pytest.raises(WrongBackboneError, match=rf"@{theirs}; this is .*@{ours}"):
        bank.add(other)
    assert bank.names == ()


def test_tensors_that_do_not_fit_are_refused() -> None:
    task = make_vit_task("short")
    name = next(name for name in task.tensors if name.endswith(".A"))
    tensors = task.tensors | {name: task.tensors[name][:, 1:]}
    with pytest.raises(TaskFileError, match=r"Task 'short' \(memory\): The adapter's matrix"):
        make_bank().add(Task(task.card, tensors))
    tensors = task.tensors | {"head.weight": task.tensors["head.weight"][:, 1:]}
    with pytest.raises(TaskFileError, match=r"its head takes \d+ features"):
        make_bank().add(Task(task.card, tensors))


def test_names_are_taken_once_and_free_again_after_removal() -> None:
    bank = make_bank()
    bank.add(make_vit_task("brain"), place="a.safetensors")
    with pytest.raises(TaskBankError, match=r"'brain' already, from a.safetensors"):
        bank.add(make_vit_task("brain", seed=1))
    bank.remove("brain")
    with pytest.raises(TaskBankError, match=r"no task 'brain' in the bank\. It has: none"):
        bank.predict(draw_pictures(1), ["brain"])
    with pytest.raises(TaskBankError, match="no task 'brain'"):
        bank.remove("brain")
    bank.add(make_vit_task("brain", seed=1))
    assert bank.names == ("brain",)


def test_questions_have_to_fit_the_images() -> None:
    bank = make_bank()
    bank.add(make_vit_task("brain"))
    with pytest.raises(DataError, match="1 images and tasks for 2"):
        bank.predict(draw_pictures(1), ["brain", "brain"])
    with pytest.raises(DataError, match="number 0 is asked no task"):
        bank.predict(draw_pictures(1), [[]])
    assert bank.predict([], []) == []


def test_a_task_costs_its_tensors_and_no_more() -> None:
    bank = make_bank()
    task = make_vit_task("brain", rank=3)
    bank.add(task)
    assert bank.n_bytes == count_bytes(task)
    half = make_bank(dtype=torch.bfloat16)
    half.add(task)
    assert half.n_bytes < count_bytes(task)
    norms = find_normalisations(draw_backbone(VIT).model)[:2]
    tuned = make_vit_task("norms", trained=norms)
    bank.add(tuned)
    assert bank.n_bytes == count_bytes(task) + count_bytes(tuned)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_network_of_a_task_s_own_shares_what_is_frozen(dtype: torch.dtype) -> None:
    bank = make_bank(dtype=dtype)
    norms = find_normalisations(draw_backbone(VIT).model)[-1:]
    bank.add(make_vit_task("norms", trained=norms))
    model = bank._shelf.take(["norms"])["norms"].model
    assert model is not None
    shared = {tensor.data_ptr() for tensor in bank._network.tensors.values()}
    own = [
        name
        for name, tensor in model.network.named_parameters()
        if tensor.data_ptr() not in shared and not tensor.requires_grad and tensor.numel() > 1000
    ]
    assert not own


def test_a_bank_in_another_type_does_not_hold_the_backbone() -> None:
    loaded = load_backbone(VIT, "random", seed=5)
    fingerprint = loaded.fingerprint
    norms = find_normalisations(loaded.model)
    task = make_task(loaded, "norms", trained=norms, strength=0.5)
    expected = build_model(task, loaded, place="memory", dtype=torch.bfloat16).state_dict()
    bank = TaskBank(loaded, dtype=torch.bfloat16)
    assert compute_fingerprint(loaded.model.state_dict()) == fingerprint
    weight = weakref.ref(loaded.model.blocks[0].mlp.fc1.weight)
    del loaded
    gc.collect()
    assert weight() is None
    bank.add(task)
    model = bank._shelf.take(["norms"])["norms"].model
    assert model is not None
    assert bank.backbone.fingerprint == fingerprint
    found = model.state_dict()
    assert found.keys() == expected.keys()
    assert all(found[name].equal(value) for name, value in expected.items())


def test_a_fully_tuned_task_is_answered_beside_the_others() -> None:
    backbone = draw_backbone(RESNET)
    bank = TaskBank(backbone)
    tasks = [make_task(backbone, "small"), make_task(backbone, "whole", method="full", seed=3)]
    for task in tasks:
        bank.add(task)
    (picture,) = draw_pictures(1)
    (answers,) = bank.predict([picture], [["whole", "small"]])
    for task in tasks:
        expected = answer_apart(task, backbone, picture)
        assert np.abs(np.array(answers[task.card.name].probabilities) - expected).max() < 1e-5


def test_tasks_repeat_their_stored_answers_in_the_bank() -> None:
    bank = make_bank()
    bank.add(make_vit_task("good", checked=True))
    bank.add(make_vit_task("silent"))
    differences = bank.verify()
    assert differences.keys() == {"good"}
    assert differences["good"] < 1e-4
    task = make_vit_task("spoilt", checked=True)
    tensors = {
        name: value * (2 if name == "head.bias" else 1) for name, value in task.tensors.items()
    }
    tensors["head.bias"] = tensors["head.bias"] + torch.tensor([3.0, -3.0])
    bank.add(Task(task.card, tensors))
    with pytest.raises(SelfCheckError, match="'spoilt' answers differently"):
        bank.verify()


def test_a_folder_is_served_within_a_byte_budget(tmp_path: Path) -> None:
    tasks = {f"task {n}": make_vit_task(f"task {n}", seed=n) for n in range(5)}
    for name, task in tasks.items():
        save_task(tmp_path / f"{name}.safetensors", task)
    size = make_bank_size(tasks["task 0"])
    bank = make_bank(source=TaskFolder(tmp_path), byte_budget=2 * size)
    assert bank.names == tuple(tasks)
    assert bank.n_bytes == 0
    pictures = draw_pictures(5)
    answers = bank.predict(pictures, list(tasks))
    assert bank.n_bytes == 2 * size
    bank.predict(pictures[:1], ["task 3"])
    bank.predict(pictures[:1], ["task 0"])
    assert list(bank._shelf._loaded) == ["task 3", "task 0"], "least recently used leaves first"
    for (name, task), picture, found in zip(tasks.items(), pictures, answers, strict=True):
        expected = answer_apart(task, draw_backbone(VIT), picture)
        assert np.abs(np.array(found[name].probabilities) - expected).max() < 1e-5


def make_bank_size(task: Task) -> int:
    bank = make_bank()
    bank.add(task)
    return bank.n_bytes


def test_a_retired_task_of_a_folder_is_asked_no_more_and_a_replaced_one_is_read_again(
    tmp_path: Path,
) -> None:
    path = save_and_name(tmp_path, make_vit_task("brain"))
    save_and_name(tmp_path, make_vit_task("chest"))
    source = TaskFolder(tmp_path)
    bank = make_bank(source=source)
    (picture,) = draw_pictures(1)
    (before,) = bank.predict([picture], ["brain"])
    newer = make_vit_task("brain", seed=7)
    save_task(path, newer)
    for name in source.refresh().replaced:
        bank.forget(name)
    (after,) = bank.predict([picture], ["brain"])
    expected = answer_apart(newer, draw_backbone(VIT), picture)
    assert np.abs(np.array(after["brain"].probabilities) - expected).max() < 1e-5
    assert after != before
    bank.remove("brain")
    assert bank.names == ("chest",)
    with pytest.raises(TaskBankError, match="no task 'brain'"):
        bank.predict([picture], ["brain"])


class SlowSource:
    """A source of one task in which something happens while it is read for the first time."""

    def __init__(self, *versions: Task) -> None:
        self.versions = list(versions)
        self.while_reading = lambda: None

    def names(self) -> tuple[str, ...]:
        return (self.versions[0].card.name,)

    def place(self, name: str) -> str:
        return name

    def load(self, name: str) -> Task:
        found = self.versions[0]
        happening, self.while_reading = self.while_reading, lambda: None
        happening()
        return found


def test_a_task_that_is_retired_while_it_is_read_does_not_come_back() -> None:
    source = SlowSource(make_vit_task("brain"))
    bank = make_bank(source=source)
    source.while_reading = lambda: bank.remove("brain")
    (picture,) = draw_pictures(1)
    for _ in range(2):
        with pytest.raises(TaskBankError, match="no task 'brain'"):
            bank.predict([picture], ["brain"])
    assert bank.n_bytes == 0


def test_a_task_that_is_replaced_while_it_is_read_is_read_again() -> None:
    source = SlowSource(make_vit_task("brain"), make_vit_task("brain", seed=7))
    bank = make_bank(source=source)

    def replace_it() -> None:
        del source.versions[0]
        bank.forget("brain")

    source.while_reading = replace_it
    (picture,) = draw_pictures(1)
    (answer,) = bank.predict([picture], ["brain"])
    expected = answer_apart(source.versions[0], draw_backbone(VIT), picture)
    assert np.abs(np.array(answer["brain"].probabilities) - expected).max() < 1e-5


def test_an_image_that_was_prepared_for_another_version_of_a_task_is_told() -> None:
    older, newer = make_vit_task("brain"), make_vit_task("brain")
    taller = replace(newer.card.preprocessing, crop_mode="border")
    assert taller != older.card.preprocessing
    source = SlowSource(older, Task(replace(newer.card, preprocessing=taller), newer.tensors))
    bank = make_bank(source=source)
    (picture,) = draw_pictures(1)
    prepared = bank.prepare(picture, ["brain"])
    assert bank.predict_prepared([prepared], [["brain"]])
    del source.versions[0]
    bank.forget("brain")
    with pytest.raises(TaskBankError, match=r"number 0 was not prepared for task 'brain' as it is"):
        bank.predict_prepared([prepared], [["brain"]])
    with pytest.raises(DataError, match="There are 1 images and tasks for 2"):
        bank.predict_prepared([prepared], [["brain"], ["brain"]])


def save_and_name(folder: Path, task: Task) -> Path:
    path = folder / f"{task.card.name}.safetensors"
    save_task(path, task)
    return path


def test_tasks_come_and_go_while_others_are_answered() -> None:
    bank = make_bank()
    fixed = make_vit_task("fixed")
    bank.add(fixed)
    pictures = draw_pictures(2)
    expected = [answer_apart(fixed, draw_backbone(VIT), picture) for picture in pictures]
    guests = [
        make_vit_task(f"guest {n}", rank=1 + n, seed=n, targets=("mlp",) if n % 2 else ("default",))
        for n in range(4)
    ]
    stop = threading.Event()
    faults: list[BaseException] = []

    def come_and_go() -> None:
        try:
            while not stop.is_set():
                for guest in guests:
                    bank.add(guest)
                    bank.predict(pictures[:1], [guest.card.name])
                    bank.remove(guest.card.name)
        except BaseException as error:  # noqa: BLE001  # told to the test's own thread
            faults.append(error)

    other = threading.Thread(target=come_and_go)
    other.start()
    try:
        for _ in range(20):
            answers = bank.predict(pictures, ["fixed", "fixed"])
            for found, values in zip(answers, expected, strict=True):
                assert np.abs(np.array(found["fixed"].probabilities) - values).max() < 1e-5
    finally:
        stop.set()
        other.join()
    assert not faults


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "predict", "wrong", "odd"]), st.integers(0, 3)),
    max_size=12,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_nothing_that_is_asked_of_a_bank_changes_the_backbone(
    steps: list[tuple[str, int]],
) -> None:
    backbone = draw_backbone(VIT)
    bank = TaskBank(backbone)
    pictures = draw_pictures(1)
    for step, number in steps:
        name = f"task {number}"
        try:
            if step == "add":
                bank.add(make_vit_task(name, rank=1 + number, seed=number))
            elif step == "remove":
                bank.remove(name)
            elif step == "predict":
                bank.predict(pictures, [name])
            elif step == "wrong":
                bank.add(make_task(draw_backbone(VIT, seed=9), name))
            else:
                task = make_vit_task(name)
                bank.add(Task(task.card, task.tensors | {"adapter.blocks.0.x.A": torch.ones(1)}))
        except MedLoRAError as error:
            assert str(error)
    assert compute_fingerprint(backbone.model.state_dict()) == backbone.fingerprint
    held = {
        name.replace(".base.", "."): tensor
        for name, tensor in bank._network.network.state_dict().items()
    }
    assert compute_fingerprint(held) == backbone.fingerprint


def test_the_mean_counts_among_pixels_only_where_it_is_the_border() -> None:
    plain = draw_backbone(VIT).preprocessing
    darker = replace(plain, mean=(0.1, 0.1, 0.1))
    assert name_pixels(plain) == name_pixels(darker)
    border, dark_border = (replace(each, crop_mode="border") for each in (plain, darker))
    assert name_pixels(border) != name_pixels(dark_border)
