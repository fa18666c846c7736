"""The files that a deployment starts from."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from deployment_samples import BACKBONE, make_settings, write_setting
from medlora.backbones.weights import load_backbone
from medlora.errors import BackboneError, StorageError
from medlora.experiments import deployment_files
from medlora.experiments.deployment_files import write_files
from medlora.task.file import load_task


def test_a_fine_tuned_model_is_the_backbone_and_its_tasks_update(tmp_path) -> None:
    files = write_setting(tmp_path).files
    state = load_backbone(BACKBONE, "random").model.state_dict()
    task = load_task(files.tasks[1])
    model = load_file(files.models[1])
    assert len(model) == len(state) + 2
    assert model["head.weight"].equal(task.tensors["head.weight"])
    changed = {name for name, value in state.items() if not model[f"network.{name}"].equal(value)}
    adapter = task.card.adapter
    assert adapter is not None
    assert changed == {f"{layer}.weight" for layer in adapter.layers}
    layer = next(iter(adapter.layers))
    width = len(state[f"{layer}.weight"]) // 3
    update = model[f"network.{layer}.weight"] - state[f"{layer}.weight"]
    value = task.tensors[f"adapter.{layer}.v.B"] @ task.tensors[f"adapter.{layer}.v.A"]
    torch.testing.assert_close(update[2 * width :], value, atol=1e-6, rtol=1e-4)
    assert not update[width : 2 * width].any()


def test_only_the_models_that_are_needed_are_written(tmp_path) -> None:
    few = write_setting(tmp_path, torch.bfloat16, strategies=("plain", "mixed")).files
    assert len(few.tasks) == 4
    assert [path.name for path in few.models] == ["model-0.safetensors"]
    assert load_file(few.models[0])["network.norm.weight"].dtype == torch.bfloat16
    assert load_file(few.models[0])["head.weight"].dtype == torch.float32


def test_tasks_are_of_different_sizes_and_kinds(tmp_path) -> None:
    cards = [load_task(path).card for path in write_setting(tmp_path).files.tasks]
    assert [len(card.classes) for card in cards] == [2, 4, 2, 14]
    assert [card.multi_label for card in cards] == [False, False, False, True]


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path, monkeypatch) -> None:
    usage = SimpleNamespace(free=1_500_000)
    monkeypatch.setattr(deployment_files.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(StorageError, match=r"need 0\.0 GB in .* Set TMPDIR"):
        write_files(tmp_path, make_settings(), torch.float32)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_backbone_is_refused(tmp_path) -> None:
    with pytest.raises(BackboneError, match="no usable model 'vit_colossal'"):
        write_files(tmp_path, make_settings(backbone="vit_colossal"), torch.float32)
