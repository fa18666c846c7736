"""PEFT's `adapter_config.json`: written for a task, and read with nothing overlooked."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medlora.errors import TaskFileError
from medlora.exchange.updates import LayerUpdate
from medlora.task.records import MAX_RANK
from medlora.task.strict_json import parse_json, show_value

CONFIG_FILE = "adapter_config.json"
MAX_CONFIG_BYTES = 2**20

# Fields that say how an adapter came about or which layers were chosen. The tensors tell the
# layers, so nothing depends on these.
_IGNORED = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "exclude_modules",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_ga_config",
        "megatron_core",
        "modules_to_save",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
    }
)
_READ = frozenset(
    {
        "alpha_pattern",
        "bias",
        "init_lora_weights",
        "lora_alpha",
        "lora_dropout",
        "peft_type",
        "r",
        "rank_pattern",
        "use_rslora",
    }
)
# Other ways to initialise also change the backbone's own weights.
_INITIALISATIONS = ("gaussian", "eva", "orthogonal")

# What layer names and plain patterns over them are made of. Groups and counted repetition could
# keep a pattern's search busy for ever.
_PATTERN = re.compile(r"[\w.\\^$\-\[\]|*+?]{1,300}", re.ASCII)
_MAX_REPETITIONS = 2


@dataclass(frozen=True)
class PeftConfig:
    """What a PEFT configuration says about the strength of each layer's update.

    Attributes:
        rank: Rank where no pattern says otherwise.
        alpha: Alpha where no pattern says otherwise.
        rank_stabilised: Whether the factor is alpha / sqrt(rank).
        dropout: Dropout on the low-rank path in training.
        ranks: Rank by pattern over layer names.
        alphas: Alpha by pattern.
        version: PEFT's version, or nothing where it is unknown.
    """

    rank: int
    alpha: float
    rank_stabilised: bool = False
    dropout: float = 0.0
    ranks: Mapping[str, int] = field(default_factory=dict)
    alphas: Mapping[str, float] = field(default_factory=dict)
    version: str = ""

    def find_rank(self, path: str) -> int:
        """Rank of a layer's update."""
        return self.ranks.get(_find_pattern(self.ranks, path), self.rank)

    def find_scale(self, path: str) -> float:
        """Factor on a layer's update."""
        alpha = self.alphas.get(_find_pattern(self.alphas, path), self.alpha)
        rank = self.find_rank(path)
        return alpha / math.sqrt(rank) if self.rank_stabilised else alpha / rank


def format_config(
    updates: Mapping[str, LayerUpdate],
    *,
    backbone: str,
    dropout: float,
    targets: Sequence[str] | str,
    saved: Sequence[str],
) -> bytes:
    """The configuration with which PEFT applies `updates` as they are.

    The factor is always alpha over rank: a rank-stabilised one is folded into alpha, since
    the rank of a layer counts all its parts here.

    Args:
        updates: Layer name to its update.
        backbone: timm's name of the backbone.
        dropout: Dropout on the low-rank path in training.
        targets: Layer names, or one pattern that matches them.
        saved: Modules that are kept whole.
    """
    counts = Counter(update.rank for update in updates.values())
    rank = min(counts, key=lambda value: (-counts[value], value))
    first = next(iter(updates.values()))
    others = {path: update for path, update in updates.items() if update.rank != rank}
    config: dict[str, Any] = {
        "alpha_pattern": {_spell(path): _simplify(u.scale * u.rank) for path, u in others.items()},
        "base_model_name_or_path": backbone,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": _simplify(first.scale * rank),
        "lora_dropout": dropout,
        "modules_to_save": list(saved),
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {_spell(path): u.rank for path, u in others.items()},
        "target_modules": targets if isinstance(targets, str) else list(targets),
        "task_type": None,
        "use_dora": False,
        "use_rslora": False,
    }
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def read_config(content: bytes, place: str) -> PeftConfig:
    """Read a configuration; whatever would make the update more than `scale * B A` is refused.

    Args:
        content: The file.
        place: Its name, for errors.

    Raises:
        TaskFileError: It is damaged, describes another kind of adapter, or has a field that
            is unknown and not empty; the field is named.
    """
    values = parse_json(content, part="configuration", place=place, max_bytes=MAX_CONFIG_BYTES)
    if not isinstance(values, dict):
        raise TaskFileError(f"{place} is not a JSON object, so it is no configuration of PEFT.")
    _refuse_more_than_lora(values, place)
    version = values.get("peft_version")
    return PeftConfig(
        rank=_read_rank(values.get("r"), "r", place),
        alpha=_read_alpha(values.get("lora_alpha"), "lora_alpha", place),
        rank_stabilised=_read_flag(values.get("use_rslora", False), "use_rslora", place),
        dropout=_read_dropout(values.get("lora_dropout", 0.0), place),
        ranks={
            key: _read_rank(value, f"rank_pattern.{key}", place)
            for key, value in _read_patterns(values.get("rank_pattern"), "rank_pattern", place)
        },
        alphas={
            key: _read_alpha(value, f"alpha_pattern.{key}", place)
            for key, value in _read_patterns(values.get("alpha_pattern"), "alpha_pattern", place)
        },
        version=version[:80] if isinstance(version, str) and version.isprintable() else "",
    )


def _refuse_more_than_lora(values: Mapping[str, object], place: str) -> None:
    if values.get("peft_type") != "LORA":
        raise TaskFileError(
            f"{place}: 'peft_type' is {show_value(values.get('peft_type'))}; only 'LORA' can be "
            "imported."
        )
    if values.get("bias", "none") != "none":
        raise TaskFileError(
            f"{place}: 'bias' is {show_value(values['bias'])}: trained biases of the backbone "
            "cannot be imported. Train with bias='none'."
        )
    start = values.get("init_lora_weights", True)
    if start is not None and not isinstance(start, bool) and start not in _INITIALISATIONS:
        raise TaskFileError(
            f"{place}: 'init_lora_weights' is {show_value(start)}, which may have changed the "
            "backbone's own weights. Let PEFT convert the adapter to plain LoRA when saving."
        )
    for key in sorted(values.keys() - _IGNORED - _READ):
        # Every other field changes what the adapter computes, now or in some later PEFT.
        if values[key] not in (None, False, [], {}, ""):
            raise TaskFileError(
                f"{place}: {show_value(key)} is {show_value(values[key])}; only plain LoRA "
                "without it can be imported. Train the adapter without that option."
            )


def _find_pattern(patterns: Mapping[str, object], path: str) -> str:
    """The first pattern that matches a layer's name from some dot on, as PEFT looks for it."""
    for pattern in patterns:
        if re.match(rf"(.*\.)?({pattern})$", path):
            return pattern
    return path


def _spell(path: str) -> str:
    """A pattern that matches one layer's name and no other."""
    return f"^{re.escape(path)}"


def _simplify(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def _describe(place: str, key: str, rule: str, value: object) -> TaskFileError:
    return TaskFileError(
        f"{place}: {show_value(key)} must be {rule}, not {show_value(value)}. The file is damaged "
        "or was not written by PEFT."
    )


def _read_rank(value: object, key: str, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_RANK:
        raise _describe(place, key, f"a whole number from 1 to {MAX_RANK}", value)
    return value


def _read_alpha(value: object, key: str, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-9 < value < 1e9:
        raise _describe(place, key, "a number between 1e-9 and 1e9", value)
    return float(value)


def _read_flag(value: object, key: str, place: str) -> bool:
    if not isinstance(value, bool):
        raise _describe(place, key, "true or false", value)
    return value


def _read_dropout(value: object, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise _describe(place, "lora_dropout", "a number in [0, 1)", value)
    return float(value)


def _read_patterns(value: object, key: str, place: str) -> list[tuple[str, object]]:
    if value is None:
        return []
    if not isinstance(value, dict):
        raise _describe(place, key, "an object", value)
    for pattern in value:
        n_repetitions = sum(pattern.count(sign) for sign in "*+?")
        if not _PATTERN.fullmatch(pattern) or n_repetitions > _MAX_REPETITIONS:
            rule = "keyed by layer names or simple patterns over them"
            raise _describe(place, key, rule, pattern)
        try:
            re.compile(pattern)
        except re.error:
            raise _describe(place, key, "keyed by valid patterns", pattern) from None
    return list(value.items())
