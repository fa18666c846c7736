import platform
from importlib import metadata

import pytest
import torch

from medlora.errors import MedLoRAError, SettingsError, TaskFileError, WrongBackboneError
from medlora.runs.opened import choose_device, open_task
from medlora.runs.versions import PACKAGES, list_versions


def test_a_task_opens_with_the_weights_it_was_trained_on(trained) -> None:
    opened = open_task(trained / "task.safetensors", weights="random", precision="fp32")
    assert opened.card.classes == ("dark", "light")
    assert (opened.precision, opened.model.training) == ("fp32", False)
    assert opened.difference < 1e-5


def test_other_weights_are_refused(trained, tmp_path) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(99)
    other = tmp_path / "other.safetensors"
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), other)
    with pytest.raises(WrongBackboneError, match=r"was trained on backbone test_vit@\w{6}.*@\w{6}"):
        open_task(trained / "task.safetensors", weights=other)


@pytest.mark.parametrize("n_bytes", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(trained, tmp_path, n_bytes) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes((trained / "task.safetensors").read_bytes()[:n_bytes])
    with pytest.raises(TaskFileError, match=r"cut\.safetensors"):
        open_task(path, weights="random")


def test_missing_weights_are_refused(trained, tmp_path) -> None:
    with pytest.raises(MedLoRAError, match="nowhere"):
        open_task(trained / "task.safetensors", weights=tmp_path / "nowhere.safetensors")


def test_an_unknown_precision_is_refused(trained) -> None:
    with pytest.raises(SettingsError, match="precision must be auto, bf16 or fp32, not 'fp8'"):
        open_task(trained / "task.safetensors", weights="random", precision="fp8")


def test_devices_are_found_by_name() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("device", ["cuda:99", "toaster", "", "meta"])
def test_a_device_that_is_not_there_is_refused(device) -> None:
    with pytest.raises(SettingsError, match=rf"no device '{device}' here. Use --device cpu"):
        choose_device(device)


def test_versions_are_listed() -> None:
    versions = list_versions()
    assert versions["python"] == platform.python_version()
    assert versions["torch"] == metadata.version("torch")
    assert set(versions) == {"python", *PACKAGES}
