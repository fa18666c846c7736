import json
from pathlib import Path
from typing import Any

import pytest

from medlora.errors import StorageError, TaskFileError, WrongBackboneError
from medlora.exchange import peft
from medlora.exchange.companion import CARD_FILE
from medlora.exchange.peft import (
    PICKLED_FILE,
    export_peft,
    find_backbone_name,
    import_peft,
    needs_backbone,
    pack_peft,
)
from medlora.exchange.peft_config import CONFIG_FILE
from medlora.exchange.peft_tensors import WEIGHTS_FILE
from medlora.task.card import BackboneReference
from medlora.task.file import Task, pack_task
from novelty_samples import keep_novelty
from tests.unit.exchange.peft_samples import make_exchange_task
from tests.unit.task.model_samples import RESNET, VIT, draw_backbone, make_model, make_model_task
from tests.unit.task.task_samples import draw_tensor, same_task


def read_config(files: dict[str, bytes]) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(files[CONFIG_FILE])
    return config


def test_the_same_task_gives_the_same_bytes() -> None:
    task = make_exchange_task()
    files = pack_peft(task)
    assert pack_peft(task) == files
    # The configuration is last: without it no reader takes the rest for an adapter.
    assert list(files) == [WEIGHTS_FILE, CARD_FILE, CONFIG_FILE]


def test_parts_of_a_fused_layer_are_one_update_of_their_ranks_together() -> None:
    config = read_config(pack_peft(make_exchange_task(rank=2, alpha=3.0)))
    assert (config["r"], config["lora_alpha"], config["rank_pattern"]) == (4, 6, {})
    assert config["modules_to_save"] == ["head"]
    assert config["target_modules"][0] == "blocks.0.attn.qkv"


def test_layers_of_another_rank_have_a_pattern_each() -> None:
    config = read_config(pack_peft(make_exchange_task(targets=("attention",), rank=2, alpha=3.0)))
    ranks, alphas = config["rank_pattern"], config["alpha_pattern"]
    assert (config["r"], config["lora_alpha"], len(ranks)) == (2, 3, 6)
    assert ranks[r"^blocks\.5\.attn\.qkv"] == 6
    assert alphas[r"^blocks\.5\.attn\.qkv"] == 9


@pytest.mark.parametrize("method", ["linear", "full"])
def test_other_methods_are_refused(method: Any) -> None:
    task = make_model_task(make_model(VIT, method), VIT)
    rule = f"trained by the method '{method}'; .*medlora tasks merge"
    with pytest.raises(TaskFileError, match=rule):
        pack_peft(task)


def test_statistics_come_from_the_backbone() -> None:
    task = make_exchange_task(RESNET, normalisations=True)
    assert needs_backbone(task)
    assert not needs_backbone(make_exchange_task())
    with pytest.raises(TaskFileError, match=r"'conv1.1.running_mean' stayed the backbone's"):
        pack_peft(task)
    saved = read_config(pack_peft(task, draw_backbone(RESNET)))["modules_to_save"]
    assert saved[:2] == ["fc", "conv1.1"]


def test_normalisations_without_statistics_need_no_backbone() -> None:
    task = make_exchange_task(VIT, normalisations=True)
    assert pack_peft(task) == pack_peft(task, draw_backbone(VIT))


def test_another_backbone_is_refused() -> None:
    with pytest.raises(WrongBackboneError, match="was trained on backbone test_vit@"):
        pack_peft(make_exchange_task(), draw_backbone(VIT, seed=1))


def add_tensor(task: Task, name: str, *shape: int) -> Task:
    return Task(task.card, task.tensors | {f"trained.{name}": draw_tensor(*shape)})


def test_a_parameter_of_the_network_itself_is_refused() -> None:
    task = add_tensor(make_exchange_task(), "pos_embed", 1, 101, 64)
    with pytest.raises(TaskFileError, match="also trained 'pos_embed', and PEFT keeps whole"):
        pack_peft(task, draw_backbone(VIT))


def test_a_module_whose_name_ends_others_is_refused() -> None:
    task = add_tensor(make_exchange_task(RESNET), "bn1.weight", 32)
    with pytest.raises(TaskFileError, match=r"PEFT would take 'layer1.0.bn1' for one of"):
        pack_peft(task, draw_backbone(RESNET))


def test_a_task_of_another_architecture_is_refused() -> None:
    task = make_exchange_task()
    values = vars(task.card) | {"backbone": BackboneReference(RESNET, "0" * 64)}
    other = Task(type(task.card)(**values), task.tensors)
    with pytest.raises(TaskFileError, match=r"updates 'blocks.0.attn.qkv', which is no linear"):
        pack_peft(other)


def test_a_folder_is_written_and_read(tmp_path: Path) -> None:
    task = make_exchange_task()
    export_peft(task, tmp_path / "new" / "adapter")
    folder = tmp_path / "new" / "adapter"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == pack_peft(task)
    assert find_backbone_name(folder) == VIT
    assert same_task(import_peft(folder, draw_backbone(VIT)), task)
    (folder / CARD_FILE).unlink()
    assert find_backbone_name(folder) is None
    assert import_peft(folder, draw_backbone(VIT)).card.name == "adapter"


def test_half_of_an_export_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_peft(make_exchange_task(), tmp_path)
    written = []

    def stop_at_second(path: Path, content: bytes) -> None:
        written.append(path.name)
        if len(written) == 2:
            raise StorageError("full")

    monkeypatch.setattr(peft, "write_atomically", stop_at_second)
    with pytest.raises(StorageError, match="full"):
        export_peft(make_exchange_task(rank=3), tmp_path)
    assert written == [WEIGHTS_FILE, CARD_FILE]
    assert not (tmp_path / CONFIG_FILE).exists()


def test_pickled_adapters_are_not_read(tmp_path: Path) -> None:
    files = pack_peft(make_exchange_task())
    (tmp_path / CONFIG_FILE).write_bytes(files[CONFIG_FILE])
    (tmp_path / PICKLED_FILE).write_bytes(b"\x80\x04.")
    with pytest.raises(TaskFileError, match=r"is pickled, .* safe_serialization=True"):
        import_peft(tmp_path, draw_backbone(VIT))


@pytest.mark.parametrize("missing", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(missing: str, tmp_path: Path) -> None:
    export_peft(make_exchange_task(), tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(StorageError, match=f"{missing} cannot be read"):
        import_peft(tmp_path, draw_backbone(VIT))


def test_what_is_kept_of_the_training_images_travels_to_the_byte(tmp_path: Path) -> None:
    backbone = draw_backbone(VIT)
    task = keep_novelty(make_exchange_task(), backbone)
    export_peft(task, tmp_path)
    found = import_peft(tmp_path, backbone)
    assert same_task(found, task)
    assert pack_task(found) == pack_task(task)


def test_what_was_kept_is_dropped_where_another_program_changed_the_adapter(
    tmp_path: Path,
) -> None:
    backbone = draw_backbone(VIT)
    export_peft(keep_novelty(make_exchange_task(), backbone), tmp_path)
    path = tmp_path / CONFIG_FILE
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"lora_alpha": 2 * config["lora_alpha"]}))
    found = import_peft(tmp_path, backbone)
    assert found.card.novelty is None
    assert not any(name.startswith("novelty.") for name in found.tensors)


def test_a_change_in_what_was_kept_breaks_the_seal(tmp_path: Path) -> None:
    backbone = draw_backbone(VIT)
    export_peft(keep_novelty(make_exchange_task(), backbone), tmp_path)
    path = tmp_path / CARD_FILE
    values = json.loads(path.read_text())
    text = values["novelty"]["novelty.mean"]
    values["novelty"]["novelty.mean"] = "AAAA" + text[4:]
    path.write_text(json.dumps(values))
    assert import_peft(tmp_path, backbone).card.novelty is None
