"""Which tensors a card implies, and of what shapes and types."""

import math
import re
from collections.abc import Collection, Mapping, Sequence

from medlora.errors import TaskFileError
from medlora.task.card import TaskCard
from medlora.task.container import TensorEntry
from medlora.task.novelty import list_entries
from medlora.task.records import AdapterSettings, FactorisedSettings
from medlora.task.strict_json import show_value

HEAD_WEIGHT = "head.weight"
HEAD_BIAS = "head.bias"
TRAINED_PREFIX = "trained."
FACTORISED_PREFIX = "factorised."

_TRAINED_NAME = re.compile(r"trained\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_FLOAT_TYPES = frozenset({"F32", "F16", "BF16"})
_CURE = "The file does not belong to its card: copy it again, or train the task again."


def name_adapter_tensors(adapter: AdapterSettings | None) -> list[tuple[str, str, bool]]:
    """Names of the adapter's tensors: `A`, `B`, and whether they adapt a part of their layer.

    `A` maps the layer's input to the rank, `B` maps the rank to the layer's output.

    Raises:
        TaskFileError: Two layers of the card imply tensors of one name.

    Example:
        >>> adapter = AdapterSettings(4, 4.0, "alpha/rank", 0.0, {"fc": (), "qkv": ("q",)})
        >>> name_adapter_tensors(adapter)
        [('adapter.fc.A', 'adapter.fc.B', False), ('adapter.qkv.q.A', 'adapter.qkv.q.B', True)]
    """
    if adapter is None:
        return []
    stems: dict[str, bool] = {}
    for path, parts in adapter.layers.items():
        for stem in [f"{path}.{part}" for part in parts] or [path]:
            if stem in stems:
                raise TaskFileError(
                    f"Task card: 'adapter.layers' names {stem!r} twice, as a layer and as a "
                    "part of one. Name each adapted layer or part once."
                )
            stems[stem] = bool(parts)
    return [(f"adapter.{stem}.A", f"adapter.{stem}.B", part) for stem, part in stems.items()]


def shape_factors(factorised: FactorisedSettings | None) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that factorised layers imply: W = U V, and a bias.

    Example:
        >>> shape_factors(FactorisedSettings(2, 0.0, {"fc": (5, 3)}))
        {'factorised.fc.U': (5, 2), 'factorised.fc.V': (2, 3), 'factorised.fc.bias': (3,)}
    """
    shapes: dict[str, tuple[int, ...]] = {}
    rank = factorised.rank if factorised else 0
    for path, (n_inputs, n_outputs) in (factorised.layers if factorised else {}).items():
        shapes[f"{FACTORISED_PREFIX}{path}.U"] = (n_inputs, rank)
        shapes[f"{FACTORISED_PREFIX}{path}.V"] = (rank, n_outputs)
        shapes[f"{FACTORISED_PREFIX}{path}.bias"] = (n_outputs,)
    return shapes


def count_values(shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """How many numbers a task keeps, by what they are for.

    Args:
        shapes: Shape of each tensor by its name in the task file.

    Returns:
        Number of values of `adapter`, of `U and V` and `biases` of factorised layers, of
        `backbone` (tensors of it that were trained) and of `head`, those that there are.

    Example:
        >>> count_values({"factorised.fc.U": (5, 2), "factorised.fc.V": (2, 3),
        ...               "factorised.fc.bias": (3,), "head.weight": (2, 3), "head.bias": (2,)})
        {'U and V': 16, 'biases': 3, 'head': 8}
    """
    counts: dict[str, int] = {}
    for name in sorted(shapes):
        kind = name.partition(".")[0]
        if kind == FACTORISED_PREFIX.rstrip("."):
            kind = "biases" if name.endswith(".bias") else "U and V"
        elif kind == TRAINED_PREFIX.rstrip("."):
            kind = "backbone"
        counts[kind] = counts.get(kind, 0) + math.prod(shapes[name])
    return counts


def check_layout(card: TaskCard, entries: Mapping[str, TensorEntry], place: str) -> None:
    """Refuse tensors that are not exactly those which the card implies.

    - `head.weight` (class, feature) and `head.bias` (class,), always;
    - `adapter.<layer>.A`, `.B`, or `adapter.<layer>.<part>.A`, `.B` for the adapted parts of a
      layer. Linear: `A` (rank, input), `B` (output, rank). Convolution: `A` (rank * groups,
      input / groups, height, width), `B` (output, rank, 1, 1); parts are linear;
    - `factorised.<layer>.U` (input, rank), `.V` (rank, output) and `.bias` (output,) for each
      factorised layer of the card, which has their numbers;
    - `novelty.<part>` where the card has `novelty`, as `list_entries` says;
    - `trained.<name>` for each tensor of the backbone that was trained itself: any shape. For
      the method `full` there is one at least.

    Head, adapter and factorised layers are of type F32, F16 or BF16.

    Args:
        card: The task's card.
        entries: Type and shape of each tensor.
        place: The file's or the task's name, for errors.

    Raises:
        TaskFileError: A tensor is missing or unexpected, or has a wrong shape or type; it is
            named.
    """
    pairs = name_adapter_tensors(card.adapter)
    factors = shape_factors(card.factorised)
    kept = list_entries(card.novelty)
    required = {HEAD_WEIGHT, HEAD_BIAS, *factors}.union(*(pair[:2] for pair in pairs))
    _check_names(card, required, kept, entries, place)
    n_classes = len(card.classes)
    head_shapes = entries[HEAD_WEIGHT].shape, entries[HEAD_BIAS].shape
    if len(head_shapes[0]) != 2 or head_shapes[0][0] != n_classes:
        rule = f"({n_classes}, features) for the card's {n_classes} classes"
        raise _describe_shape(place, HEAD_WEIGHT, rule, head_shapes[0])
    if head_shapes[1] != (n_classes,):
        rule = f"({n_classes},) for the card's {n_classes} classes"
        raise _describe_shape(place, HEAD_BIAS, rule, head_shapes[1])
    rank = card.adapter.rank if card.adapter else 0
    for pair in pairs:
        _check_pair(pair, rank, entries, place)
    for name, shape in factors.items():
        if entries[name].shape != shape:
            raise _describe_shape(place, name, f"{shape} by its card", entries[name].shape)
    _check_kept(kept, entries, place)


def _check_kept(
    kept: Mapping[str, TensorEntry], entries: Mapping[str, TensorEntry], place: str
) -> None:
    for name, entry in kept.items():
        if entries[name].shape != entry.shape:
            raise _describe_shape(place, name, f"{entry.shape} by its card", entries[name].shape)
        if entries[name].dtype != entry.dtype:
            raise TaskFileError(
                f"{place}: the tensor {name!r} must be of type {entry.dtype}, not "
                f"{entries[name].dtype}. {_CURE}"
            )


def _check_names(
    card: TaskCard,
    required: Collection[str],
    kept: Collection[str],
    entries: Mapping[str, TensorEntry],
    place: str,
) -> None:
    for name in sorted({*required, *kept}):
        if name not in entries:
            raise TaskFileError(f"{place}: the tensor {name!r} is missing. {_CURE}")
        if name in required and entries[name].dtype not in _FLOAT_TYPES:
            raise TaskFileError(
                f"{place}: the tensor {name!r} must be of type F32, F16 or BF16, not "
                f"{entries[name].dtype}. {_CURE}"
            )
    n_trained = 0
    for name in entries:
        if _TRAINED_NAME.fullmatch(name):
            n_trained += 1
        elif name not in required and name not in kept:
            raise TaskFileError(
                f"{place}: the tensor {show_value(name)} is unexpected: its card "
                f"(method {card.method!r}) implies none of that name. {_CURE}"
            )
    if card.method == "full" and not n_trained:
        raise TaskFileError(
            f"{place}: a tensor {TRAINED_PREFIX}<name> is missing: the method 'full' keeps the "
            f"whole trained backbone. {_CURE}"
        )


def _check_pair(
    pair: tuple[str, str, bool],
    rank: int,
    entries: Mapping[str, TensorEntry],
    place: str,
) -> None:
    name_a, name_b, is_part = pair
    shape_a, shape_b = entries[name_a].shape, entries[name_b].shape
    if len(shape_a) == 4 and not is_part:
        # The number of groups is a property of the backbone's layer, which `A` reflects.
        n_groups, rest = divmod(shape_a[0], rank)
        if rest or not n_groups:
            rule = f"({rank} * groups, inputs / groups, height, width) for rank {rank}"
            raise _describe_shape(place, name_a, rule, shape_a)
        if len(shape_b) != 4 or shape_b[1:] != (rank, 1, 1) or shape_b[0] % n_groups:
            rule = f"(outputs, {rank}, 1, 1) with outputs in {n_groups} group(s)"
            raise _describe_shape(place, name_b, rule, shape_b)
        return
    if len(shape_a) != 2 or shape_a[0] != rank:
        raise _describe_shape(place, name_a, f"({rank}, inputs) for rank {rank}", shape_a)
    if len(shape_b) != 2 or shape_b[1] != rank:
        raise _describe_shape(place, name_b, f"(outputs, {rank}) for rank {rank}", shape_b)


def _describe_shape(place: str, name: str, rule: str, shape: tuple[int, ...]) -> TaskFileError:
    return TaskFileError(
        f"{place}: the tensor {name!r} has the wrong shape: it must be {rule}, not {shape}. {_CURE}"
    )
