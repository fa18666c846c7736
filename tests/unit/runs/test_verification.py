from dataclasses import replace

import pytest
import torch

from medlora.backbones.weights import load_backbone
from medlora.errors import BackboneError
from medlora.runs import opened, verification
from medlora.runs.verification import Verification, verify_task_files
from medlora.task.file import Task, load_task, save_task
from medlora.task.model import TaskModel, plan_adapter
from medlora.task.opening import record_self_check
from medlora.task.records import BackboneReference, SelfCheck
from tests.unit.task.task_samples import make_card

RANDOM = "random"


def train_task(name: str, backbone_name: str = "test_vit", method: str = "lora") -> Task:
    """A task on an untrained backbone, with the answers that it gives."""
    backbone = load_backbone(backbone_name, RANDOM)
    adapter = plan_adapter(backbone, rank=1, alpha=1.0) if method == "lora" else None
    torch.manual_seed(0)
    model = TaskModel(backbone, 2, method=method, adapter=adapter).eval()
    check = record_self_check(model, backbone.preprocessing, multi_label=False)
    card = make_card(
        name=name,
        method=method,
        backbone=BackboneReference(backbone_name, backbone.fingerprint),
        preprocessing=backbone.preprocessing,
        adapter=adapter,
        self_check=check,
    )
    return Task(card, model.collect_tensors())


@pytest.fixture(scope="module")
def vit() -> Task:
    return train_task("vit")


@pytest.fixture
def loaded(monkeypatch):
    """The backbones that are loaded, with their weights."""
    calls = []

    def spy(name, weights=None, **settings):
        calls.append((name, weights))
        return load_backbone(name, weights, **settings)

    monkeypatch.setattr(opened, "load_backbone", spy)
    return calls


def write(folder, file: str, task: Task, **changes):
    path = folder / f"{file}.safetensors"
    save_task(path, Task(replace(task.card, **changes), task.tensors))
    return path


def test_each_backbone_is_loaded_once(tmp_path, vit, loaded) -> None:
    resnet = train_task("resnet", "test_resnet", "linear")
    paths = [
        write(tmp_path, "a", vit),
        write(tmp_path, "b", resnet),
        write(tmp_path, "c", vit, name="another"),
    ]
    steps = []

    def progress(stage, done, total) -> None:
        steps.append((stage, done, total))

    found = list(verify_task_files(paths, weights=RANDOM, progress=progress))
    assert [item.path for item in found] == [paths[0], paths[2], paths[1]]
    assert [item.task for item in found] == ["vit", "another", "resnet"]
    assert [item.backbone for item in found] == [
        vit.card.backbone,
        vit.card.backbone,
        resnet.card.backbone,
    ]
    assert all(item.fault is None and 0 <= item.difference < 1e-5 for item in found)
    assert loaded == [("test_vit", RANDOM), ("test_resnet", RANDOM)]
    assert steps == [("verifying", done, 3) for done in (1, 2, 3)]


def test_every_fault_is_told_and_the_others_are_checked(tmp_path, vit, loaded) -> None:
    other = BackboneReference("test_vit", "c210aa" + "0" * 58)
    check = vit.card.self_check
    wrong = replace(check, expected=tuple((0.9, 0.1) for _ in check.expected))
    paths = {
        "cut": write(tmp_path, "cut", vit),
        "flipped": write(tmp_path, "flipped", vit),
        "other": write(tmp_path, "other", vit, backbone=other),
        "wrong": write(tmp_path, "wrong", vit, self_check=wrong),
        "weights": tmp_path / "weights.safetensors",
        "gone": tmp_path / "gone.safetensors",
        "good": write(tmp_path, "good", vit),
    }
    content = bytearray(paths["cut"].read_bytes())
    paths["cut"].write_bytes(content[:-1])
    content[-1] ^= 1
    paths["flipped"].write_bytes(content)
    paths["weights"].write_bytes((2).to_bytes(8, "little") + b"{}")
    found = {item.path.stem: item for item in verify_task_files([*paths.values()], weights=RANDOM)}
    assert found.keys() == paths.keys()
    fingerprint = vit.card.backbone.fingerprint
    for name, match in {
        "cut": "is truncated",
        "flipped": "does not match the digest",
        "other": f"test_vit@c210aa; this is @{fingerprint[:6]}",
        "wrong": "answers differently from when it was saved",
        "weights": "is not a task file",
        "gone": "cannot be read (No such file or directory)",
    }.items():
        item = found[name]
        assert match in item.fault
        assert str(paths[name]) in item.fault
        assert "\n" not in item.fault
        assert item.difference is None
        assert item.task == (None if name in ("cut", "weights", "gone") else "vit")
    assert found["good"].fault is None
    assert len(loaded) == 1


def test_a_task_without_stored_answers_is_built_all_the_same(tmp_path, vit) -> None:
    plain = write(tmp_path, "plain", vit, self_check=None)
    misfit = {**vit.tensors, "head.weight": torch.zeros(2, 7)}
    save_task(tmp_path / "misfit.safetensors", Task(load_task(plain).card, misfit))
    paths = [plain, tmp_path / "misfit.safetensors"]
    good, bad = verify_task_files(paths, weights=RANDOM)
    assert good == Verification(plain, "vit", vit.card.backbone)
    assert "'head.weight' has shape (2, 7), this backbone needs (2, 64)" in bad.fault


def test_a_backbone_that_is_not_found_fails_all_of_its_tasks_once(tmp_path, vit, loaded) -> None:
    paths = [write(tmp_path, name, vit) for name in "ab"]
    missing = tmp_path / "nowhere.safetensors"
    found = list(verify_task_files(paths, weights=missing))
    for path, item in zip(paths, found, strict=True):
        assert item.fault == f"{path}: There is no weights file {missing}. Check --weights."
        assert (item.task, item.backbone) == ("vit", vit.card.backbone)
    assert len(loaded) == 1


def test_a_damaged_file_needs_no_backbone_to_be_found_out(tmp_path, vit, monkeypatch) -> None:
    path = write(tmp_path, "a", vit)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    def refuse(task, weights):
        raise BackboneError("must not be asked for")

    monkeypatch.setattr(verification, "find_backbone", refuse)
    (found,) = verify_task_files([path])
    assert "does not match the digest" in found.fault


def test_a_task_with_all_weights_needs_none(tmp_path, loaded) -> None:
    path = write(tmp_path, "full", train_task("full", method="full"))
    (found,) = verify_task_files([path])
    assert (found.fault, found.task) == (None, "full")
    assert loaded == [("test_vit", RANDOM)]


def test_the_tolerance_is_that_of_the_card(tmp_path, vit) -> None:
    check = vit.card.self_check
    shifted = tuple(tuple(value + 0.01 for value in row) for row in check.expected)
    loose = SelfCheck(check.seed, check.n_images, shifted, 0.02)
    (found,) = verify_task_files([write(tmp_path, "a", vit, self_check=loose)], weights=RANDOM)
    assert found.fault is None
    assert found.difference == pytest.approx(0.01, abs=1e-4)


def test_no_files_give_no_results() -> None:
    assert list(verify_task_files([])) == []
