"""How fast batches of many tasks are answered: this project's bank, PEFT, and merged models.

All contestants are in one process and take turns, round after round; a ratio is formed within
each round, and the median over the rounds is quoted. Beside that it is measured how long a bank
takes to add a task, and what ways of computing the updates cost in one layer.

    python -m benchmarks.mixed_tasks            # writes docs/results/mixed-tasks.json, a figure,
                                                # and mixed-tasks-gpu.json where there is a GPU
    python -m benchmarks.mixed_tasks --quick    # a tiny network, written nowhere
"""

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.mixed_adding import time_adding
from benchmarks.mixed_contest import Entrant, Ground, MixedSetting, take_turns
from benchmarks.mixed_contestants import (
    BANK,
    BARE,
    FROZEN,
    MERGED,
    PEFT_MIXED,
    PEFT_SWITCHED,
    ROUTED,
    Contestant,
    list_contestants,
    order_kinds,
)
from benchmarks.mixed_matrix_rate import measure_matrix_rate
from benchmarks.mixed_strategies import time_strategies
from benchmarks.mixed_tasks_figure import write_figure
from benchmarks.mixed_tasks_table import render_mixed_tasks
from benchmarks.record import RESULTS, ROOT, describe_load, write_result
from medlora.allocator import keep_large_blocks

KIND = "mixed-tasks"
NAMES = {"cpu": "mixed-tasks", "cuda": "mixed-tasks-gpu"}
IMAGES = ROOT / "docs" / "images"
FIGURE = "mixed-tasks.svg"
LARGE_BACKBONES = ("vit_base_patch16_224", "vit_large_patch16_224", "vit_gigantic_patch14_224")
QUICK = MixedSetting("test_vit", batch_sizes=(2, 4), task_counts=(1, 2, 3, 12), few=2, many=3)
STRATEGY_TASKS = (1, 4, 16, 64)
MATRIX_SIDES = {"cpu": 4096, "cuda": 8192}
_CLOCK_HELP = "what a second is; that of the processor means little with several threads"
_LEAST_RATIO = 0.97
_NO_WORSE = 0.99  # A hundredth is within what the same contestant differs by between rounds.
_MOST_SECONDS_TO_ADD = 0.005


def measure_network(ground: Ground, *, matrix_side: int) -> dict[str, Any]:
    """Hold the contest on one network.

    Args:
        ground: The network.
        matrix_side: Rows and columns of the matrices that the device's rate is measured with.

    Returns:
        One entry of the result's field `networks`.
    """
    setting = ground.setting
    contestants = {contestant.name: contestant for contestant in list_contestants(setting)}
    entrants: dict[str, Entrant] = {}
    for name, contestant in contestants.items():
        print(f"building: {name}", file=sys.stderr)
        entrants[name] = contestant.build(ground)
    aimed = [ratio for ratio in list_ratios(setting) if "at_least" in ratio]
    close = {ratio[side] for ratio in aimed for side in ("of", "to")}
    batches: dict[str, list[dict[str, Any]]] = {name: [] for name in entrants}
    n_passes = {}
    for batch_size in setting.batch_sizes:
        speeds, n_passes[str(batch_size)] = take_turns(entrants, ground, batch_size, BARE, close)
        for name, repeats in speeds.items():
            speed = median(repeats)
            batches[name].append(
                {"batch_size": batch_size, "images_per_second": speed, "repeats": repeats}
            )
    return {
        "backbone": setting.backbone,
        "device": setting.device,
        "precision": ground.precision,
        "every_row_differs": setting.every_row_differs,
        "passes_of_a_turn": n_passes,
        "reference": BARE,
        "rows": [
            {
                "name": name,
                "kind": kind,
                "n_tasks": entrant.n_tasks,
                "bytes_per_task": entrant.bytes_per_task,
                "how": contestants[name].how,
                "batches": batches[name],
            }
            for kind in order_kinds()
            for name, entrant in entrants.items()
            if contestants[name].kind == kind
        ],
        "ratios": list_ratios(setting),
        "matrix": measure_matrix_rate(ground, matrix_side) | {"of": [BARE, _name_ours(setting)]},
    }


def list_ratios(setting: MixedSetting) -> list[dict[str, Any]]:
    """What is compared, and the aims.

    On a processor the aim is for the bank as a server calls it. A GPU computes a batch in the
    time that its host takes to put pixels together and to sort out answers, which a server does
    meanwhile; there the aim is for the network.
    """
    few, many, most = setting.few, setting.many, max(setting.task_counts)
    in_bank = [_name(BANK, n_tasks) for n_tasks in setting.task_counts]
    routed = _name(ROUTED, most)
    aimed = [routed] if setting.device == "cuda" else in_bank
    ratios: list[dict[str, Any]] = [
        {"of": name, "to": BARE} | ({"at_least": _LEAST_RATIO} if name in aimed else {})
        for name in (*in_bank, routed)
    ]
    if not setting.every_row_differs:
        pair = {"of": _name(BANK, most), "to": _name(BANK, few)}
        ratios.append(pair | {"at_least": _NO_WORSE})
    ratios += [{"of": FROZEN, "to": BARE}, {"of": routed, "to": FROZEN}]
    if not setting.every_row_differs:
        peers = (PEFT_MIXED, PEFT_SWITCHED, MERGED)
        ratios += [{"of": _name(BANK, few), "to": _name(kind, few)} for kind in peers]
    return [*ratios, {"of": _name(BANK, many), "to": _name(PEFT_MIXED, many)}]


def measure_device(
    settings: Sequence[MixedSetting], *, matrix_side: int, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Measure everything on one device: contests, additions and strategies.

    Args:
        settings: The networks; additions and strategies are measured on the first.
        matrix_side: As `measure_network` takes it.
        notes: Remarks for the result.

    Returns:
        The result of kind `mixed-tasks`, as benchmarks/README.md describes it.
    """
    networks: list[dict[str, Any]] = []
    adding: dict[str, Any] = {}
    strategies: list[dict[str, Any]] = []
    for place, setting in enumerate(settings):
        ground = Ground(setting)
        if place == 0:
            print("adding tasks, strategies", file=sys.stderr)
            adding, bank = time_adding(ground, max(setting.task_counts))
            adding["at_most_seconds"] = _MOST_SECONDS_TO_ADD
            ground.lend_bank(bank)
            del bank
            strategies = time_strategies(ground, setting.batch_sizes, STRATEGY_TASKS)
        networks.append(measure_network(ground, matrix_side=matrix_side))
        del ground
        gc.collect()
    return {
        "setting": _describe(settings[0]),
        "networks": networks,
        "adding": adding,
        "strategies": strategies,
        "notes": list(notes),
    }


def list_settings(options: argparse.Namespace, device: str) -> list[MixedSetting]:
    """The networks that are measured on a device."""
    base = QUICK if options.quick else MixedSetting()
    base = replace(base, device=device, n_rounds=options.rounds, clock=options.clock)
    base = replace(base, n_close_rounds=options.close_rounds)
    if options.batch_sizes:
        base = replace(base, batch_sizes=tuple(options.batch_sizes))
    if options.quick:
        return [replace(base, turn_seconds=0.0)]
    if device == "cpu":
        return [base]
    many = base.many
    one_batch = replace(base, batch_sizes=(many,), task_counts=(many,), every_row_differs=True)
    return [base, *(replace(one_batch, backbone=name) for name in LARGE_BACKBONES)]


def main(
    arguments: Sequence[str] | None = None, folder: Path = RESULTS, images: Path = IMAGES
) -> int:
    """Measure, print the tables, and write results and figure."""
    options = _parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    notes = [*_describe_memory(keep_large_blocks()), *options.note]
    devices = [options.device] if options.device else _find_devices()
    for device in devices:
        load = os.getloadavg()[0]
        side = 256 if options.quick else MATRIX_SIDES[device]
        settings = list_settings(options, device)
        result = measure_device(settings, matrix_side=side, notes=notes)
        result["notes"] += describe_load(load, os.getloadavg()[0])
        if "cuda" not in _find_devices():
            result["notes"].append(
                "There was no GPU, so that larger networks were not measured, and nothing on one."
            )
        if not options.quick:
            if device == "cpu":
                result["figure"] = f"images/{FIGURE}"
                write_figure(result, images / FIGURE)
            print(write_result(NAMES[device], KIND, result, seed=0, folder=folder), file=sys.stderr)
        print(render_mixed_tasks(result))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mixed_tasks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of every contestant")
    parser.add_argument(
        "--close-rounds", type=int, default=8, help="further turns of those whose ratio has an aim"
    )
    parser.add_argument("--batch-sizes", type=int, nargs="+", help="images in a batch: 16 64")
    parser.add_argument("--device", choices=tuple(NAMES), help="one alone, not all that are there")
    parser.add_argument("--threads", type=int, default=0, help="0 for one on every core")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall", help=_CLOCK_HELP)
    parser.add_argument("--quick", action="store_true", help="a tiny network; nothing is written")
    parser.add_argument("--note", action="append", default=[], help="a remark for the result")
    return parser.parse_args(arguments)


def _find_devices() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def _name_ours(setting: MixedSetting) -> str:
    return _name(ROUTED if setting.device == "cuda" else BANK, max(setting.task_counts))


def _name(kind: str, n_tasks: int) -> str:
    return Contestant(kind, n_tasks).name


def _describe(setting: MixedSetting) -> str:
    n_threads = torch.get_num_threads()
    threads = "1 thread" if n_threads == 1 else f"{n_threads} threads"
    second = " A second is one of processor time." if setting.clock == "processor" else ""
    where = "one GPU" if setting.device == "cuda" else threads
    return (
        f"Random weights, rank {setting.rank} on query and value, a random task for every image, "
        f"{where}, {setting.n_rounds} rounds in which all take turns, and "
        f"{setting.n_close_rounds} further ones of those whose ratio has an aim: medians, and in "
        f"brackets the range.{second}"
    )


def _describe_memory(keeps_blocks: bool) -> list[str]:
    if not keeps_blocks:
        return []
    return [
        "The process kept freed memory for the next batch, as `medlora` lets it in every command, "
        "and so all contestants had the same advantage of it."
    ]


if __name__ == "__main__":
    raise SystemExit(main())
