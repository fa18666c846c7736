"""The contest of mixed batches: all answer the same, take turns, and the sums come out right."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import pytest
import torch
from torch.nn import functional

from benchmarks import mixed_contest, mixed_tasks
from benchmarks.mixed_adding import time_adding
from benchmarks.mixed_contest import Entrant, Ground, MixedSetting, name_task, take_turns
from benchmarks.mixed_contestants import (
    BARE,
    Contestant,
    build_bank,
    build_bare,
    build_frozen,
    build_merged,
    build_peft_mixed,
    build_peft_switched,
    build_routed,
    list_contestants,
)
from benchmarks.mixed_matrix_rate import count_operations
from benchmarks.mixed_strategies import (
    LayerTasks,
    add_gathered,
    add_grouped,
    add_like_peft,
    compute_merged,
    time_strategies,
)
from benchmarks.mixed_tasks_figure import write_figure
from benchmarks.mixed_tasks_table import render_mixed_tasks
from medlora.lora.linear import find_columns
from medlora.task.opening import compute_probabilities

TINY = MixedSetting(
    "test_vit",
    batch_sizes=(2, 5),
    task_counts=(1, 2, 3),
    few=2,
    many=3,
    n_rounds=2,
    turn_seconds=0.0,
)
DIFFERENT = MixedSetting("test_vit", task_counts=(64,), every_row_differs=True)


@pytest.fixture(scope="module")
def ground() -> Ground:
    return Ground(TINY)


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return mixed_tasks.measure_device([TINY], matrix_side=8, notes=["It rained."])


def answer(build: Callable[[Ground, int], Entrant], ground: Ground, n_tasks: int) -> Any:
    with torch.inference_mode():
        return build(ground, n_tasks).answer(ground.draw_batch(5, n_tasks))


def test_a_bank_answers_as_merged_models_do(ground: Ground) -> None:
    asked = ground.draw_batch(5, 3).tasks
    assert len(set(asked)) > 1
    merged = answer(build_merged, ground, 3)
    for number, found, logits in zip(asked, answer(build_bank, ground, 3), merged, strict=True):
        multi_label = ground.draw_task(number).card.multi_label
        expected = compute_probabilities(logits[None], multi_label=multi_label)[0]
        given = torch.tensor(found[name_task(number)].probabilities, dtype=torch.float64)
        assert (given - expected).abs().max() < 2e-2


def test_the_network_alone_gives_the_features_behind_the_answers(ground: Ground) -> None:
    features, answers = answer(build_routed, ground, 3), answer(build_bank, ground, 3)
    for number, row, found in zip(ground.draw_batch(5, 3).tasks, features, answers, strict=True):
        task = ground.draw_task(number)
        head = (task.tensors[name] for name in ("head.weight", "head.bias"))
        logits = functional.linear(row.float()[None], *head)
        expected = compute_probabilities(logits, multi_label=task.card.multi_label)[0]
        given = torch.tensor(found[name_task(number)].probabilities, dtype=torch.float64)
        assert (given - expected).abs().max() < 1e-5


def test_a_network_alone_may_hold_a_single_task(ground: Ground) -> None:
    assert answer(build_routed, ground, 1).shape == (5, ground.backbone.n_features)


def test_frozen_layers_change_no_feature(ground: Ground) -> None:
    assert torch.equal(answer(build_bare, ground, 0), answer(build_frozen, ground, 0))


def test_both_ways_of_calling_peft_answer_the_same(ground: Ground) -> None:
    answers = []
    for build in (build_peft_mixed, build_peft_switched):
        torch.manual_seed(0)
        answers.append(answer(build, ground, 2))
    assert torch.allclose(answers[0].float(), torch.stack(answers[1]).float(), atol=2e-2)
    assert not torch.allclose(answers[0][0], answers[0][1])


def test_a_task_takes_far_less_than_a_merged_model(ground: Ground) -> None:
    sizes = [build(ground, 2).bytes_per_task for build in (build_bank, build_peft_mixed)]
    merged = build_merged(ground, 2).bytes_per_task
    assert merged is not None
    assert all(size is not None and 0 < size < merged / 10 for size in sizes)


def test_batches_are_the_same_each_time_and_tasks_random(ground: Ground) -> None:
    one, other = ground.draw_batch(5, 3), ground.draw_batch(5, 3)
    assert one.tasks == other.tasks
    assert set(one.tasks) <= {0, 1, 2}
    assert len(one.prepared) == len(one.images) == 5
    assert ground.draw_batch(5, 0).tasks == [0] * 5


def test_every_row_may_ask_a_task_of_its_own() -> None:
    ground = Ground(DIFFERENT)
    assert sorted(ground.draw_batch(64, 64).tasks) == list(range(64))


def test_turns_go_forth_and_back_and_take_as_many_passes_as_the_reference_has_time_for(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[tuple[int, int]] = []
    setting = MixedSetting("test_vit", n_rounds=2, turn_seconds=1.0)
    monkeypatch.setattr(ground, "setting", setting)
    seconds = {0: 0.25, 2: 2.0}

    def time_passes(run: Callable[[], object], n_passes: int, _: MixedSetting) -> float:
        n_tasks = run()
        assert isinstance(n_tasks, int)
        turns.append((n_tasks, n_passes))
        return seconds[n_tasks]

    monkeypatch.setattr(mixed_contest, "time_passes", time_passes)
    entrants = {"bare": Entrant(lambda _: 0), "bank": Entrant(lambda _: 2, n_tasks=2)}
    speeds, n_passes = take_turns(entrants, ground, 5, "bare")
    assert n_passes == 4
    assert speeds == {"bare": [20.0, 20.0], "bank": [2.5, 2.5]}
    # The quick one is warmed up twice.
    assert turns == [(0, 1), (0, 1), (2, 1), (0, 4), (2, 4), (2, 4), (0, 4)]


def test_those_with_an_aim_go_on_taking_turns(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = MixedSetting("test_vit", n_rounds=1, n_close_rounds=2, turn_seconds=1.0)
    monkeypatch.setattr(ground, "setting", setting)
    turns: list[int] = []

    def time_passes(run: Callable[[], object], n_passes: int, _: MixedSetting) -> float:
        turns.append(cast(int, run()))
        return 1.0

    monkeypatch.setattr(mixed_contest, "time_passes", time_passes)
    entrants = {str(n): Entrant(lambda _, n=n: n) for n in range(3)}
    speeds, _ = take_turns(entrants, ground, 5, "0", close={"0", "2"})
    assert {name: len(repeats) for name, repeats in speeds.items()} == {"0": 3, "1": 1, "2": 3}
    assert turns == [0, 1, 2, 0, 1, 2, 2, 0, 0, 2]


def test_additions_are_told_by_their_number(ground: Ground) -> None:
    adding, bank = time_adding(ground, 12)
    assert len(bank.names) == 12
    places = [(row["from"], row["to"], len(row["repeats"])) for row in adding["rows"]]
    assert places == [(1, 1, 5), (2, 10, 9), (4, 12, 9)]
    assert 0 < adding["bytes"]["held"] <= adding["bytes"]["file"]
    assert "resident" in adding["bytes"]


def test_all_strategies_compute_the_same_update() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(6, 9).requires_grad_(False)
    tasks = LayerTasks(layer, find_columns(layer, ("q", "v")), rank=2, n_tasks=3)
    tasks.downs.mul_(1e3)
    for up in tasks.ups:
        up.mul_(1e3)
    inputs = torch.randn(4, 5, 6)
    for numbers in ([0, 0, 1, 2], [1, 1, 1, 1]):
        expected = layer(inputs)
        for row, number in enumerate(numbers):
            for column, hidden, up in tasks.parts():
                update = inputs[row] @ tasks.downs[number][:, hidden] @ up[number]
                expected[row][:, column] += update
        for add in (add_gathered, add_grouped):
            outputs = layer(inputs)
            add(layer, tasks, numbers, inputs, outputs)
            assert torch.allclose(outputs, expected, atol=1e-5)
        merged = compute_merged(layer, tasks, numbers, inputs)
        assert torch.allclose(merged, expected, atol=1e-5)
        assert not torch.allclose(layer(inputs), expected, atol=1e-1)


def test_the_update_as_in_peft_reaches_every_output() -> None:
    layer = torch.nn.Linear(6, 9).requires_grad_(False)
    tasks = LayerTasks(layer, find_columns(layer, ("q", "v")), rank=2, n_tasks=2)
    inputs = torch.randn(3, 5, 6)
    numbers = [1, 0, 1]
    outputs = layer(inputs)
    add_like_peft(layer, tasks, numbers, inputs, outputs)
    downs, ups = (matrix[numbers] for matrix in (tasks.peft_down, tasks.peft_up))
    expected = layer(inputs) + inputs @ downs.mT @ ups.mT
    assert torch.allclose(outputs, expected, atol=1e-6)


def test_strategies_are_timed_for_no_more_tasks_than_images(ground: Ground) -> None:
    rows = time_strategies(ground, (2, 5), (1, 4), n_repeats=1)
    assert [(row["batch_size"], row["n_distinct"]) for row in rows] == [(2, 1), (5, 1), (5, 4)]
    assert all(row["base_seconds"] > 0 for row in rows)


def test_operations_are_counted_by_hand_as_well() -> None:
    # timm's test_vit: 160 pixels, patches of 16, 6 blocks of width 64, 2 heads, hidden width 192.
    n_patches, width = 100, 64
    n_tokens = n_patches + 1
    layers = 2 * n_tokens * width * (3 * width + width + 2 * 3 * width)
    attention = 2 * 2 * n_tokens**2 * width
    patches = 2 * n_patches * width * 3 * 16**2
    expected = patches + 6 * (layers + attention)
    assert count_operations("test_vit", (160, 160)) == expected


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("setting", [MixedSetting(), DIFFERENT], ids=["random", "different"])
def test_ratios_are_between_those_who_take_part(setting: MixedSetting, device: str) -> None:
    setting = MixedSetting(**vars(setting) | {"device": device})
    names = [contestant.name for contestant in list_contestants(setting)]
    assert len(set(names)) == len(names)
    ratios = mixed_tasks.list_ratios(setting)
    assert {ratio[side] for ratio in ratios for side in ("of", "to")} <= set(names)
    aimed = [ratio["of"] for ratio in ratios if ratio.get("at_least") == 0.97]
    kind = "MedLoRA's network alone" if device == "cuda" else "MedLoRA's bank"
    assert aimed
    assert all(name.startswith(kind) for name in aimed)


def test_a_gpu_has_larger_networks_and_batches_of_different_tasks() -> None:
    options = mixed_tasks._parse([])
    (alone,) = mixed_tasks.list_settings(options, "cpu")
    assert (alone.batch_sizes, alone.task_counts) == ((16, 64), (1, 4, 64, 1000))
    first, *others = mixed_tasks.list_settings(options, "cuda")
    assert not first.every_row_differs
    assert [setting.backbone for setting in others] == list(mixed_tasks.LARGE_BACKBONES)
    assert all(setting.every_row_differs for setting in others)
    assert {(setting.batch_sizes, setting.task_counts) for setting in others} == {((64,), (64,))}


def test_a_result_says_who_took_part(result: dict[str, Any]) -> None:
    (network,) = result["networks"]
    rows = network["rows"]
    assert {row["name"] for row in rows} == {entry.name for entry in list_contestants(TINY)}
    assert rows[0]["name"] == BARE
    assert {len(batch["repeats"]) for row in rows for batch in row["batches"]} == {2}
    assert set(network["passes_of_a_turn"]) == {"2", "5"}
    assert result["adding"]["rows"][-1]["to"] == 3
    assert "It rained." in render_mixed_tasks(result)


def test_a_figure_stands_alone(result: dict[str, Any], tmp_path: Path) -> None:
    write_figure(result, tmp_path / "figure.svg")
    content = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(content)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    for text in ("MedLoRA's bank, batches of 5", "PEFT, set_adapter, batches of 5", "aim 0.97"):
        assert text in content
    assert "network alone" not in content


def test_a_measurement_is_written_with_its_figure(
    result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixed_tasks, "keep_large_blocks", lambda: True)
    monkeypatch.setattr(mixed_tasks, "_find_devices", lambda: ["cpu"])
    monkeypatch.setattr("os.getloadavg", lambda: (3.25, 0.0, 0.0))
    settings: list[MixedSetting] = []

    def measure(given: list[MixedSetting], *, matrix_side: int, notes: list[str]) -> Any:
        settings.extend(given)
        return result | {"notes": list(notes)}

    monkeypatch.setattr(mixed_tasks, "measure_device", measure)
    folders = {"folder": tmp_path / "results", "images": tmp_path / "images"}
    for folder in folders.values():
        folder.mkdir()
    assert mixed_tasks.main(["--quick", "--rounds", "1"], **folders) == 0
    assert [list(folder.iterdir()) for folder in folders.values()] == [[], []]
    arguments = ["--note", "Hot.", "--batch-sizes", "8", "--clock", "processor"]
    assert mixed_tasks.main(arguments, **folders) == 0
    assert (settings[0].backbone, settings[0].n_rounds) == ("test_vit", 1)
    assert (settings[1].batch_sizes, settings[1].clock) == ((8,), "processor")
    record = json.loads((folders["folder"] / "mixed-tasks.json").read_text(encoding="utf-8"))
    assert record["kind"] == "mixed-tasks"
    kept, hot, load, without_gpu = record["result"]["notes"]
    assert "kept freed memory" in kept
    assert hot == "Hot."
    assert "its load was 3.2 before the contest" in load
    assert "There was no GPU" in without_gpu
    assert record["result"]["figure"] == "images/mixed-tasks.svg"
    assert (folders["images"] / "mixed-tasks.svg").is_file()


def test_contestants_are_named_by_their_tasks() -> None:
    assert Contestant("A", 1000).name == "A, 1,000 tasks"
    assert Contestant("A", 1).name == "A, 1 task"
    assert Contestant("A").name == "A"
