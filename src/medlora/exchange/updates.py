"""Low-rank updates as PEFT holds them: one A and one B for each layer, whatever its parts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medlora.errors import TaskFileError
from medlora.lora.linear import FUSED_PARTS, Pair, join_parts
from medlora.lora.scaling import compute_scale
from medlora.task.file import Task


@dataclass(frozen=True, eq=False)
class LayerUpdate:
    """`scale * B A` of one layer.

    Attributes:
        down: A: float (rank, input); for a convolution (rank, input, height, width).
        up: B: float (output, rank); for a convolution (output, rank / groups, 1, 1).
        scale: The factor on the product.
    """

    down: Tensor
    up: Tensor
    scale: float

    @property
    def rank(self) -> int:
        """Rank of the update, over all parts or groups together."""
        return int(self.down.shape[0])


def collect_updates(task: Task) -> dict[str, LayerUpdate]:
    """A task's updates, layer by layer; parts and groups become blocks of one A and one B."""
    adapter = task.card.adapter
    if adapter is None:
        return {}
    scale = compute_scale(adapter.rank, adapter.alpha, adapter.scaling)
    updates: dict[str, LayerUpdate] = {}
    for path, parts in adapter.layers.items():
        stems = {part: f"adapter.{path}.{part}" for part in parts} or {"": f"adapter.{path}"}
        pairs = {
            part: (task.tensors[f"{stem}.A"], task.tensors[f"{stem}.B"])
            for part, stem in stems.items()
        }
        down, up = join_parts(pairs) if parts else pairs[""]
        if down.ndim == 4:
            down = spread_groups(down, down.shape[0] // adapter.rank)
        updates[path] = LayerUpdate(down, up, scale)
    return updates


def split_parts(update: LayerUpdate, parts: Sequence[str], place: str) -> dict[str, Pair]:
    """The pairs that `join_parts` joined; zeros around the blocks are not looked at.

    Raises:
        TaskFileError: The update cannot be cut into these parts.
    """
    ordered = [part for part in FUSED_PARTS if part in parts]
    rank, rest = divmod(update.rank, max(len(ordered), 1))
    width, odd = divmod(update.up.shape[0], len(FUSED_PARTS))
    if len(ordered) < len(parts) or rest or odd or update.up.ndim != 2:
        raise TaskFileError(
            f"{place}: an update of rank {update.rank} with {update.up.shape[0]} outputs has no "
            f"parts {', '.join(parts)}. The card and the adapter do not belong together; export "
            "the task again."
        )
    pairs: dict[str, Pair] = {}
    for index, part in enumerate(ordered):
        start = FUSED_PARTS.index(part) * width
        own = slice(index * rank, (index + 1) * rank)
        up = update.up[start : start + width, own]
        pairs[part] = update.down[own].clone(), up.clone()
    return pairs


def spread_groups(down: Tensor, groups: int) -> Tensor:
    """A for every input channel, from one for those of each group: zeros stand elsewhere.

    Args:
        down: Float (rank * groups, input / groups, height, width).
        groups: Groups of the convolution.

    Returns:
        Float (rank * groups, input, height, width).
    """
    if groups == 1:
        return down
    n_rows, n_inputs = down.shape[0] // groups, down.shape[1]
    spread = down.new_zeros(down.shape[0], n_inputs * groups, *down.shape[2:])
    for group in range(groups):
        rows = slice(group * n_rows, (group + 1) * n_rows)
        spread[rows, group * n_inputs : (group + 1) * n_inputs] = down[rows]
    return spread


def gather_groups(down: Tensor, groups: int, place: str) -> Tensor:
    """What `spread_groups` spread.

    Raises:
        TaskFileError: A channel outside of a group has an influence on it. Such an update is
            none of a grouped convolution.
    """
    if groups == 1:
        return down
    n_rows, n_inputs = down.shape[0] // groups, down.shape[1] // groups
    blocks = [
        down[group * n_rows : (group + 1) * n_rows, group * n_inputs : (group + 1) * n_inputs]
        for group in range(groups)
    ]
    gathered = torch.cat(blocks)
    if not spread_groups(gathered, groups).equal(down):
        raise TaskFileError(
            f"{place}: its update mixes the {groups} groups of a grouped convolution, which no "
            "update of that convolution does. Train it on other layers."
        )
    return gathered


def unify_ranks(updates: Mapping[str, LayerUpdate]) -> tuple[int, float, dict[str, Pair]]:
    """One rank and one factor for all layers, as a task's adapter has them.

    Smaller updates are filled up with zeros to the largest rank, which changes nothing. Where
    factors differ, the most frequent one is kept, and the rest of the others goes into B.

    Args:
        updates: Layer name to its update; grouped convolutions with an A for each group.

    Returns:
        The rank, the factor, and A and B of each layer.
    """
    largest = max(update.up.shape[1] for update in updates.values())
    counts = Counter(update.scale for update in updates.values())
    scale = min(counts, key=lambda value: (-counts[value], value))
    pairs: dict[str, Pair] = {}
    for path, update in updates.items():
        rank = update.up.shape[1]
        down, up = update.down, update.up
        if update.scale != scale:
            up = up.float() * (update.scale / scale)
        if rank < largest:
            groups = down.shape[0] // rank
            grouped = down.new_zeros(groups, largest, *down.shape[1:])
            grouped[:, :rank] = down.unflatten(0, (groups, rank))
            down = grouped.flatten(0, 1)
            filled = up.new_zeros(up.shape[0], largest, *up.shape[2:])
            filled[:, :rank] = up
            up = filled
        pairs[path] = down, up
    return largest, scale, pairs


def check_fit(model: nn.Module, path: str, update: LayerUpdate, place: str) -> None:
    """Refuse an update that is none of the model's layer, or that PEFT computes in another way.

    Args:
        model: The backbone, or one like it without values.
        path: The layer's name.
        update: Its update.
        place: Where it came from, for errors.

    Raises:
        TaskFileError: There is no such layer, it is neither linear nor a convolution, its
            shape is another, or it is a convolution with dilation or unusual padding.
    """
    layer = dict(model.named_modules()).get(path)
    rank = update.rank
    if isinstance(layer, nn.Linear):
        expected: tuple[tuple[int, ...], ...] = (
            (rank, layer.in_features),
            (layer.out_features, rank),
        )
    elif isinstance(layer, nn.Conv2d):
        if layer.dilation != (1, 1) or layer.padding_mode != "zeros":
            raise TaskFileError(
                f"{place}: layer {path!r} is a convolution with dilation {layer.dilation} and "
                f"padding {layer.padding_mode!r}; PEFT's updates know neither. Leave that layer "
                "out."
            )
        expected = (
            (rank, layer.in_channels, *layer.kernel_size),
            (layer.out_channels, rank // layer.groups, 1, 1),
        )
    else:
        kind = "there is none" if layer is None else f"it is a {type(layer).__name__}"
        raise TaskFileError(
            f"{place}: the adapter updates {path!r}, which is no linear or convolutional layer "
            f"of this backbone ({kind}). Use the backbone that it was trained on."
        )
    if (tuple(update.down.shape), tuple(update.up.shape)) != expected:
        raise TaskFileError(
            f"{place}: the update of {path!r} has the shapes {tuple(update.down.shape)} and "
            f"{tuple(update.up.shape)}; this backbone needs {expected[0]} and {expected[1]}. Use "
            "the backbone that it was trained on."
        )
