"""Where in an image a task's answer comes from: Grad-CAM, attention, integrated gradients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor, nn

from medlora.backbones.attention_maps import AttentionMaps, read_tokens
from medlora.backbones.map_layer import MapLayer, find_map_layer, has_maps
from medlora.errors import BackboneError, SettingsError
from medlora.evaluate.relevance import roll_relevance
from medlora.task.ensemble import EnsembleModel
from medlora.task.model import TaskModel

MapMethod = Literal["auto", "grad-cam", "attention", "integrated-gradients"]
MAP_METHODS: tuple[MapMethod, ...] = get_args(MapMethod)

# Points on the way from the empty image to the image, for pixels and for a layer's maps, and how
# many of the former are computed at a time.
_N_STEPS = 32
_N_LAYER_STEPS = 4
_N_AT_ONCE = 8
# Width of the Gaussian that gathers the gradients of single pixels, as a share of the side.
_SPREAD = 0.03


def choose_map_method(
    model: TaskModel | EnsembleModel, method: MapMethod = "auto"
) -> Literal["grad-cam", "attention", "integrated-gradients"]:
    """The method to explain a model by: what is asked for, or what suits its network.

    Args:
        model: The model; of an ensemble the first member decides, since all have one backbone.
        method: `auto` takes Grad-CAM where the network has feature maps, attention where it has
            tokens, and integrated gradients where nothing is known of it.

    Raises:
        SettingsError: There is no such method, or the package captum is missing for it.
        BackboneError: The network cannot be explained by it.
    """
    if method not in MAP_METHODS:
        raise SettingsError(f"--method must be one of {', '.join(MAP_METHODS)}, not {method!r}.")
    network = list_members(model)[0].network
    if method == "auto":
        try:
            read_tokens(network)
            method = "attention"
        except BackboneError:
            method = "grad-cam" if has_maps(network) else "integrated-gradients"
    if method == "attention":
        read_tokens(network)
        return method
    if method == "grad-cam":
        find_map_layer(network)
    _import_captum()
    return method


def compute_heat_map(
    model: TaskModel | EnsembleModel,
    inputs: Tensor,
    target: int,
    *,
    multi_label: bool,
    method: MapMethod = "auto",
    empty: Tensor | None = None,
) -> npt.NDArray[np.float32]:
    """How much each place of an image speaks for a class.

    What is explained is the class's log-odds: in a task of exclusive classes, its logit against
    those of all others together. Adding the same to every logit changes no answer, and so no map.

    Args:
        model: The task's model, in evaluation mode; of an ensemble, the members' maps are averaged.
        inputs: One normalised image, float (1, channel, height, width).
        target: Number of the class.
        multi_label: Whether an image may have several classes.
        method: How; see `choose_map_method`.
        empty: An image that shows nothing, of the shape of `inputs`: where the way to the image
            begins, for Grad-CAM and integrated gradients. None for zeros, the mean colour.

    Returns:
        Shape (row, column) of a grid over the whole input: that of the last feature maps, of the
        patches, or of the pixels. Values in [0, 1], 1 at the largest; all 0 where nothing speaks
        for the class.

    Raises:
        SettingsError: There is no such method or class, or the package captum is missing.
        BackboneError: The network cannot be explained by this method.
    """
    chosen = choose_map_method(model, method)
    n_classes = model.head.out_features
    if not 0 <= target < n_classes:
        raise SettingsError(f"A class's number is 0 to {n_classes - 1}, not {target}.")
    trace = {
        "grad-cam": _trace_maps,
        "attention": _trace_attention,
        "integrated-gradients": _trace_pixels,
    }[chosen]
    empty = torch.zeros_like(inputs) if empty is None else empty.detach()
    parts = []
    for member in list_members(model):

        def measure(images: Tensor, member: TaskModel = member) -> Tensor:
            return measure_odds(member(images), target, multi_label=multi_label)

        values = trace(member, inputs.detach().clone(), empty, measure)
        parts.append(_scale(values.float().cpu().numpy()))
    return _scale(np.mean(parts, axis=0))


def measure_odds(logits: Tensor, target: int, *, multi_label: bool) -> Tensor:
    """Log-odds of a class.

    Args:
        logits: (image, class).
        target: Number of the class.
        multi_label: Whether classes are independent.

    Returns:
        (image,).

    Example:
        >>> measure_odds(torch.tensor([[2.0, 1.0]]), 0, multi_label=False)
        tensor([1.])
    """
    own = logits[:, target]
    if multi_label or logits.shape[1] == 1:
        return own
    others = torch.cat([logits[:, :target], logits[:, target + 1 :]], dim=1)
    return own - others.logsumexp(dim=1)


def list_members(model: TaskModel | EnsembleModel) -> list[TaskModel]:
    """The models that answer: those of an ensemble, or the one."""
    if isinstance(model, TaskModel):
        return [model]
    return [member for member in model.models if isinstance(member, TaskModel)]


def _trace_maps(
    model: TaskModel, inputs: Tensor, empty: Tensor, measure: Callable[[Tensor], Tensor]
) -> Tensor:
    """What a layer's maps gain over those of an empty image, times the gradient on the way there.

    Grad-CAM averages the gradient over all places before it is multiplied. That is the same in
    front of a mean and a linear head, and misleads in earlier layers. A certain answer has a
    gradient near 0 or of either sign, so that it is taken on the whole way from the empty image.
    The published rule keeps what is above 0; but a number that is added to all places, and taken
    off the head's offset, changes no answer: places count as far as they lie above the middle one.

    Reference:
        Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
        Localization, ICCV 2017; Draelos and Carin, Use HiResCAM instead of Grad-CAM for faithful
        explanations of convolutional neural networks, 2020; Sattarzadeh et al., Integrated
        Grad-CAM: Sensitivity-Aware Visual Explanation of Deep Convolutional Networks via Integrated
        Gradient-Based Scoring, ICASSP 2021.
    """
    attribution = _import_captum()
    shares = (torch.arange(_N_LAYER_STEPS, device=inputs.device) + 0.5) / _N_LAYER_STEPS
    steps = empty + shares[:, None, None, None] * (inputs - empty)
    with _tap_maps(model.network, find_map_layer(model.network)) as tap:
        gradients = attribution.LayerGradientXActivation(
            measure, tap, multiply_by_inputs=False
        ).attribute(steps.requires_grad_())
        ends = torch.cat([inputs, empty])
        shown, blank = attribution.LayerActivation(measure, tap).attribute(ends).detach()
    gradient = gradients.detach().float().mean(dim=0)
    values: Tensor = ((shown - blank).float() * gradient).sum(dim=0)
    return (values - values.median()).clamp(min=0)


def _trace_attention(
    model: TaskModel, inputs: Tensor, empty: Tensor, measure: Callable[[Tensor], Tensor]
) -> Tensor:
    layout = read_tokens(model.network)
    with torch.enable_grad(), AttentionMaps() as watched:
        odds = measure(inputs)
        gradients = torch.autograd.grad(odds.sum(), watched.maps) if watched.maps else ()
    maps = [each.detach() for each in watched.maps]
    return roll_relevance(maps, gradients, layout)[0]


def _trace_pixels(
    model: TaskModel, inputs: Tensor, empty: Tensor, measure: Callable[[Tensor], Tensor]
) -> Tensor:
    """Integrated gradients of pixels, gathered over their neighbourhood.

    Reference:
        Sundararajan, Taly and Yan, Axiomatic Attribution for Deep Networks, ICML 2017.
    """
    attribution = _import_captum()
    explained = attribution.IntegratedGradients(measure).attribute(
        inputs.requires_grad_(),
        baselines=empty,
        n_steps=_N_STEPS,
        internal_batch_size=_N_AT_ONCE,
    )
    values = explained.detach()[0].sum(dim=0).float().cpu().numpy()
    spread = ndimage.gaussian_filter(values, _SPREAD * max(values.shape))
    return torch.from_numpy(np.maximum(spread, 0))


@contextmanager
def _tap_maps(network: nn.Module, place: MapLayer) -> Iterator[nn.Module]:
    """A module through which a layer's maps pass as (image, channel, height, width)."""
    tap = nn.Identity()

    def lead(module: nn.Module, inputs: Any, maps: Tensor) -> Tensor:
        if not place.ends_in_channels:
            passed: Tensor = tap(maps)
            return passed
        passed = tap(maps.permute(0, 3, 1, 2))
        return passed.permute(0, 2, 3, 1)

    handle = network.get_submodule(place.name).register_forward_hook(lead)
    try:
        yield tap
    finally:
        handle.remove()


def _scale(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    largest = float(values.max())
    return np.asarray(values / largest if largest > 0 else np.zeros_like(values), np.float32)


def _import_captum() -> Any:
    try:
        from captum import attr
    except ImportError as error:
        raise SettingsError(
            "Grad-CAM and integrated gradients take the package captum. Install it with "
            "pip install 'medlora[explain]'; a vision transformer can do without, by --method "
            "attention."
        ) from error
    return attr
