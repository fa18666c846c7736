"""Task files to other programs' formats and back, by command."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medlora.backbones.weights import load_backbone
from medlora.exchange import onnx
from medlora.task.file import Task, load_task, save_task
from medlora.task.model import TaskModel, plan_adapter
from medlora.task.opening import build_model, record_self_check
from medlora.task.records import BackboneReference
from run_samples import run_command
from tests.unit.task.model_samples import randomise
from tests.unit.task.task_samples import make_card, same_task

RANDOM = ("--weights", "random")


@pytest.fixture(scope="module")
def task_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task on an untrained small transformer, as the commands find it with random weights."""
    backbone = load_backbone("test_vit", "random")
    adapter = plan_adapter(backbone, rank=2, alpha=4.0)
    torch.manual_seed(0)
    model = randomise(TaskModel(backbone, 2, method="lora", adapter=adapter))
    reference = BackboneReference("test_vit", backbone.fingerprint)
    values = {"backbone": reference, "preprocessing": backbone.preprocessing, "adapter": adapter}
    task = Task(make_card(**values, self_check=None), model.collect_tensors())
    exact = build_model(task, backbone, place="here")
    check = record_self_check(exact, backbone.preprocessing, multi_label=False)
    path = tmp_path_factory.mktemp("exchange") / "task.safetensors"
    save_task(path, Task(make_card(**values, self_check=check), task.tensors))
    return path


@pytest.fixture
def command(monkeypatch):
    return lambda *arguments: run_command(monkeypatch, "tasks", *arguments)


def test_a_task_goes_to_peft_and_comes_back_to_the_byte(command, task_file, tmp_path, capsys):
    folder, out = tmp_path / "adapter", tmp_path / "back.safetensors"
    assert command("export", task_file, folder) == 0
    assert "timm's test_vit with weights @" in capsys.readouterr().out
    assert command("import", folder, "--out", out, *RANDOM) == 0
    captured = capsys.readouterr()
    assert "tb-cxr, classes normal, tuberculosis é" in captured.out
    assert captured.err == ""
    assert out.read_bytes() == task_file.read_bytes()


def test_without_its_card_an_adapter_says_what_is_unknown(command, task_file, tmp_path, capsys):
    folder, out = tmp_path / "adapter", tmp_path / "back.safetensors"
    assert command("export", task_file, folder) == 0
    (folder / "medlora_card.json").unlink()
    given = ("import", folder, "--out", out, *RANDOM)
    assert command(*given) == 2
    assert "Give timm's name with --backbone" in capsys.readouterr().err
    named = (*given, "--backbone", "test_vit", "--name", "mine")
    assert command(*named, "--classes", "normal, tb") == 0
    assert "warning: Imported from PEFT." in capsys.readouterr().err
    card = load_task(out).card
    assert (card.name, card.classes, card.multi_label) == ("mine", ("normal", "tb"), False)
    assert command(*named, "--class", "a, b", "--class", "c", "--multi-label") == 0
    card = load_task(out).card
    assert (card.classes, card.multi_label) == (("a, b", "c"), True)
    capsys.readouterr()
    assert command(*named, "--classes", "a,b", "--class", "c") == 2
    assert "by --classes or by --class, not by both" in capsys.readouterr().err


def test_a_folder_that_is_no_adapter_gives_one_line(command, tmp_path, capsys) -> None:
    given = ("import", tmp_path, "--out", tmp_path / "x.safetensors", *RANDOM)
    assert command(*given, "--backbone", "test_vit") == 2
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    assert command(*given, "--backbone", "test_vit") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "configuration of PEFT" in lines[0]
    assert "'peft_type' is 'IA3'" in lines[1]
    assert not (tmp_path / "x.safetensors").exists()


def test_a_task_is_merged_into_a_checkpoint(command, task_file, tmp_path, capsys) -> None:
    out = tmp_path / "merged.safetensors"
    assert command("merge", task_file, "--out", out, *RANDOM) == 0
    assert "timm.create_model('test_vit', num_classes=2" in capsys.readouterr().out
    assert load_file(out)["head.bias"].equal(load_task(task_file).tensors["head.bias"])


def test_a_task_is_written_as_onnx(command, task_file, tmp_path, capsys, monkeypatch) -> None:
    asked: list[Task] = []

    def export_nothing(task: Task, backbone: object, *, place: str) -> bytes:
        asked.append(task)
        return b"onnx"

    # The export itself is tested on its own, and takes seconds.
    monkeypatch.setattr(onnx, "export_onnx", export_nothing)
    out = tmp_path / "model.onnx"
    assert command("merge", task_file, "--onnx", out, *RANDOM) == 0
    assert out.read_bytes() == b"onnx"
    assert same_task(asked[0], load_task(task_file))
    assert "uint8 pixels to probabilities of normal" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "fault"),
    [((), "Say what to write"), (("--out", "model.pth"), "must end in .safetensors")],
)
def test_merging_needs_to_know_what_to_write(command, task_file, options, fault, capsys) -> None:
    assert command("merge", task_file, *options, *RANDOM) == 2
    assert fault in capsys.readouterr().err
