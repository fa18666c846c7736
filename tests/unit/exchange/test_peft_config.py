import json
import math
from typing import Any

import pytest

from medlora.errors import TaskFileError
from medlora.exchange.peft_config import PeftConfig, format_config, read_config
from medlora.exchange.updates import LayerUpdate
from tests.unit.task.task_samples import draw_tensor

PLAIN: dict[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 6}


def read(**values: Any) -> PeftConfig:
    return read_config(json.dumps(PLAIN | values).encode(), "here")


def make_update(rank: int, scale: float) -> LayerUpdate:
    return LayerUpdate(draw_tensor(rank, 3), draw_tensor(3, rank), scale)


def test_what_is_written_is_read() -> None:
    updates = {
        "blocks.0.qkv": make_update(6, 0.7),
        "blocks.10.qkv": make_update(6, 0.7),
        "blocks.0.fc": make_update(2, 0.7),
    }
    content = format_config(
        updates, backbone="some_vit", dropout=0.1, targets=list(updates), saved=["head"]
    )
    config = read_config(content, "here")
    assert config.dropout == 0.1
    for path, update in updates.items():
        assert config.find_rank(path) == update.rank
        assert config.find_scale(path) == pytest.approx(0.7, rel=1e-15)
    assert json.loads(content)["target_modules"] == list(updates)
    # A pattern for one layer is none for others whose names end alike.
    assert config.find_rank("more.blocks.0.fc") == config.find_rank("blocks.0xfc") == 6


def test_whole_numbers_are_written_as_such() -> None:
    content = format_config(
        {"fc": make_update(4, 2.0)}, backbone="b", dropout=0.0, targets=["fc"], saved=[]
    )
    assert b'"lora_alpha": 8,' in content


def test_patterns_match_from_a_dot_on_and_the_first_wins() -> None:
    config = read(
        rank_pattern={"fc1": 2, r"blocks\.1\.attn\.qkv": 8, ".*qkv": 16},
        alpha_pattern={"^blocks.[0-1].*": 3},
    )
    ranks = {path: config.find_rank(path) for path in ("fc1", "blocks.0.mlp.fc1", "blocks.0.xfc1")}
    assert ranks == {"fc1": 2, "blocks.0.mlp.fc1": 2, "blocks.0.xfc1": 4}
    assert config.find_rank("blocks.1.attn.qkv") == 8
    assert config.find_rank("blocks.2.attn.qkv") == 16
    assert config.find_scale("blocks.0.mlp.fc1") == 3 / 2
    assert config.find_scale("blocks.2.mlp.fc1") == 6 / 2


def test_a_rank_stabilised_factor_divides_by_the_root() -> None:
    assert read(use_rslora=True).find_scale("fc") == 6 / math.sqrt(4)


def test_the_version_is_kept_if_it_is_text() -> None:
    assert read(peft_version="0.17.0").version == "0.17.0"
    assert read(peft_version=17).version == read(peft_version="a\nb").version == ""


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"peft_type": "IA3"}, "'peft_type' is 'IA3'; only 'LORA'"),
        ({"peft_type": "VERA"}, "'peft_type' is 'VERA'; only 'LORA'"),
        ({"peft_type": None}, "'peft_type' is None"),
        ({"use_dora": True}, "'use_dora' is True; only plain LoRA"),
        ({"fan_in_fan_out": True}, "'fan_in_fan_out' is True"),
        ({"lora_bias": True}, "'lora_bias' is True"),
        ({"use_qalora": True}, "'use_qalora' is True"),
        ({"layer_replication": [[0, 2]]}, r"'layer_replication' is \[\[0, 2\]\]"),
        ({"trainable_token_indices": [1]}, "'trainable_token_indices' is"),
        ({"target_parameters": ["weight"]}, "'target_parameters' is"),
        ({"some_later_option": 0.5}, "'some_later_option' is 0.5; only plain LoRA"),
        ({"bias": "lora_only"}, "'bias' is 'lora_only'"),
        ({"init_lora_weights": "pissa_niter_4"}, "'init_lora_weights' is 'pissa_niter_4'"),
        ({"init_lora_weights": "olora"}, "'init_lora_weights' is 'olora'"),
        ({"init_lora_weights": 1}, "'init_lora_weights' is 1"),
        ({"r": 0}, "'r' must be a whole number from 1 to 65536, not 0"),
        ({"r": True}, "'r' must be a whole number"),
        ({"r": None}, "'r' must be a whole number .* not None"),
        ({"lora_alpha": 0}, "'lora_alpha' must be a number between 1e-9 and 1e9, not 0"),
        ({"lora_alpha": -1.5}, "'lora_alpha' must be a number"),
        ({"lora_alpha": "8"}, "'lora_alpha' must be a number .* not '8'"),
        ({"lora_dropout": 1}, r"'lora_dropout' must be a number in \[0, 1\), not 1"),
        ({"use_rslora": "yes"}, "'use_rslora' must be true or false, not 'yes'"),
        ({"rank_pattern": [1]}, "'rank_pattern' must be an object"),
        ({"rank_pattern": {"fc": 0}}, "'rank_pattern.fc' must be a whole number"),
        ({"alpha_pattern": {"fc": None}}, "'alpha_pattern.fc' must be a number"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "'alpha_pattern' must be keyed by layer names"),
        ({"rank_pattern": {".*.*.*b": 1}}, "'rank_pattern' must be keyed by layer names"),
        ({"rank_pattern": {"a{2,}": 1}}, "'rank_pattern' must be keyed by layer names"),
        ({"rank_pattern": {"[a": 1}}, r"'rank_pattern' must be keyed by valid patterns, not '\[a'"),
    ],
)
def test_what_is_not_plain_lora_is_refused_by_its_field(changes: Any, fault: str) -> None:
    with pytest.raises(TaskFileError, match=f"^here: {fault}"):
        read(**changes)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "its configuration is not valid JSON"),
        (b"[]", "here is not a JSON object"),
        (b'{"peft_type": "LORA", "r": NaN}', "NaN is not a JSON number"),
        (b"[" * 100, "nested 100 deep"),
        (b" " * (2**20 + 1), "at most 1048576 are read"),
    ],
)
def test_a_damaged_file_is_refused(content: bytes, fault: str) -> None:
    with pytest.raises(TaskFileError, match=fault):
        read_config(content, "here")


def test_empty_options_that_are_unknown_are_harmless() -> None:
    values = {"later": None, "later_flag": False, "later_list": [], "later_table": {}}
    assert read(**values, megatron_core="megatron.core", init_lora_weights="gaussian").rank == 4
