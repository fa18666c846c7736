from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from medlora.backbones.connected import (
    has_omitted_layers,
    list_connected,
    name_complete,
    restore_connected,
)
from medlora.backbones.copying import copy_network
from medlora.backbones.fingerprint import compute_fingerprint
from medlora.backbones.spec import choose_patterns, create_architecture
from medlora.backbones.weights import load_backbone
from medlora.errors import (
    BackboneError,
    CheckpointMismatchError,
    TargetError,
    WeightsNotFoundError,
)

NAME = "vgg11.features"
WIDTHS = {"pre_logits.fc1": (25088, 4096), "pre_logits.fc2": (4096, 4096)}


@pytest.fixture(autouse=True)
def no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDLORA_WEIGHTS", raising=False)


@pytest.fixture(scope="module")
def convolutions() -> dict[str, Tensor]:
    """VGG11's, as a checkpoint of the convolutions alone holds them."""
    torch.manual_seed(5)
    state = timm.create_model("vgg11", mlp_ratio=0.001, num_classes=0).state_dict()
    return {name: value for name, value in state.items() if name.startswith("features.")}


CREATE = timm.create_model


def narrow(name: str, **settings: Any) -> nn.Module:
    """The complete networks' connected layers would take half a gigabyte."""
    return CREATE(name, **({"mlp_ratio": 0.001} | settings))


@pytest.mark.parametrize("name", ["vgg16.features", "vgg16_seed.features", "vgg11_bn.features"])
def test_only_convolutions_are_left(name: str) -> None:
    with torch.device("meta"):
        network = create_architecture(name)
        complete = timm.create_model(name_complete(name), num_classes=0)
    expected = {k: v.shape for k, v in complete.state_dict().items() if k.startswith("features.")}
    assert {k: v.shape for k, v in network.state_dict().items()} == expected
    assert list_connected(network) == WIDTHS
    assert has_omitted_layers(network)
    assert not has_omitted_layers(complete)


@torch.no_grad()
def test_features_are_the_means_of_the_last_maps() -> None:
    backbone = load_backbone(NAME, "random", seed=1)
    assert backbone.n_features == 512
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = backbone.model.get_submodule("features")(images)
    assert torch.allclose(backbone.model(images), maps.mean(dim=(2, 3)), atol=1e-6)


def test_untrained_weights_follow_the_seed() -> None:
    one, same, other = (load_backbone(NAME, "random", seed=seed) for seed in (1, 1, 2))
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_restored_layers_are_timms_own_in_shape_and_hold_no_values() -> None:
    backbone = load_backbone(NAME, "random")
    network = copy_network(backbone.model, torch.bfloat16, share=False)
    assert restore_connected(network) == 4096
    with torch.device("meta"):
        complete = timm.create_model("vgg11", num_classes=0)
    state, expected = network.state_dict(), complete.state_dict()
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in expected.items()}
    assert all(value.is_meta == name.startswith("pre_logits") for name, value in state.items())
    assert has_omitted_layers(backbone.model), "the original has changed"
    with pytest.raises(BackboneError, match=r"left out of this VGG\. Load the convol.* vgg16\.fea"):
        restore_connected(network)


@pytest.mark.parametrize("name", ["resnet18.features", "test_vit.features"])
def test_other_families_have_none_to_leave_out(name: str) -> None:
    with pytest.raises(BackboneError, match=r"has no fully connected layers.*only VGGs have"):
        create_architecture(name)


def test_an_unknown_network_is_named_with_those_near_it() -> None:
    with pytest.raises(BackboneError, match=r"no usable model 'vgg17\.features'"):
        create_architecture("vgg17.features")


def test_an_adapter_on_layers_that_are_not_there_is_refused() -> None:
    network = load_backbone(NAME, "random").model
    for targets in (["fc"], ["conv", "pre_logits.fc1"]):
        with pytest.raises(TargetError, match=r"W would be random\. Choose --method factorised"):
            choose_patterns(network, targets)
    assert choose_patterns(network, ["default"]) == ("features.*",)


def test_a_file_of_convolutions_is_found_by_its_name_and_loaded_whole(
    tmp_path: Path, convolutions: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(convolutions, tmp_path / f"{NAME}.safetensors")
    monkeypatch.setenv("MEDLORA_WEIGHTS", str(tmp_path))
    backbone = load_backbone(NAME)
    assert backbone.weights == f"file {NAME}.safetensors"
    assert backbone.fingerprint == compute_fingerprint(convolutions)
    less = {name: value for name, value in convolutions.items() if name != "features.0.bias"}
    save_file(less, tmp_path / "less.safetensors")
    with pytest.raises(CheckpointMismatchError, match=r"missing 'features\.0\.bias'; not expected"):
        load_backbone(NAME, tmp_path / "less.safetensors")


@pytest.mark.parametrize("file", ["vgg11.safetensors", "vgg11.tv_in1k.safetensors"])
def test_a_complete_checkpoint_gives_the_same_convolutions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    torch.manual_seed(6)
    state = CREATE("vgg11", mlp_ratio=0.001, num_classes=3).state_dict()
    save_file(state, tmp_path / file)
    monkeypatch.setenv("MEDLORA_WEIGHTS", str(tmp_path))
    kept = {name: value for name, value in state.items() if name.startswith("features.")}
    assert load_backbone(NAME).fingerprint == compute_fingerprint(kept)


def test_a_complete_network_is_not_filled_up_with_random_layers(
    tmp_path: Path, convolutions: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timm, "create_model", narrow)
    file = tmp_path / "vgg11.features.safetensors"
    save_file(convolutions, file)
    rule = r"the convolutions of vgg11 alone, .* \(W\) would be random: choose --backbone vgg11\.f"
    with pytest.raises(CheckpointMismatchError, match=rule):
        load_backbone("vgg11", file)
    monkeypatch.setenv("MEDLORA_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("medlora.backbones.weights._offline_unless_reachable", refuse)
    with pytest.raises(WeightsNotFoundError, match=rule):
        load_backbone("vgg11")


def refuse() -> None:
    raise OSError("no hub in this test")


def test_the_hubs_complete_weights_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(7)
    hub = CREATE("vgg11", mlp_ratio=0.001, num_classes=0)

    def pretend(name: str, *, pretrained: bool = False, **settings: Any) -> nn.Module:
        return hub if pretrained else narrow(name, **settings)

    monkeypatch.setattr(timm, "create_model", pretend)
    backbone = load_backbone(NAME)
    kept = {k: v for k, v in hub.state_dict().items() if k.startswith("features.")}
    assert (backbone.fingerprint, backbone.weights) == (compute_fingerprint(kept), "timm's hub")


@pytest.mark.parametrize("name", ["vgg16_seed", "vgg16_seed.features"])
def test_what_nobody_has_published_is_not_looked_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timm, "create_model", narrow)
    with pytest.raises(WeightsNotFoundError, match=r"nobody has published any.*--weights random"):
        load_backbone(name)
