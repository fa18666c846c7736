"""How fast a low-rank adapter trains: this project, PEFT, full fine-tuning, and the floor.

All contestants wait in processes of their own and take turns, round after round, so that
whatever else the machine does falls on all alike; a ratio is formed within each round, and the
median over the rounds is quoted.

    python -m benchmarks.training            # writes docs/results/training-speed.json
    python -m benchmarks.training --threads 1 --clock processor    # on a machine that is busy
    python -m benchmarks.training --quick    # a few steps of a tiny model, written nowhere
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.record import RESULTS, describe_load, write_result
from benchmarks.training_contest import Contest, choose_dtype
from benchmarks.training_contestants import (
    CONTESTANTS,
    FLOOR,
    FROZEN_FLOOR,
    FULL,
    MEDLORA,
    MEDLORA_STEP,
    PEFT,
    PEFT_HALF,
    PEFT_HALF_KEPT,
    PEFT_KEPT,
    PEFT_MIXED,
    Contestant,
)
from benchmarks.training_pictures import time_data
from benchmarks.training_process import ContestantProcess
from benchmarks.training_speed_table import render_training_speed

NAME = "training-speed"
EPOCHS = 10  # The default of `medlora train`; pictures are decoded in the first of them.
QUICK = Contest(backbone="test_vit", batch_size=4, picture_side=192, n_pictures=8)
_CLOCK_HELP = "what a second is; that of the processor means little with several threads"
_LONG_SECONDS = 4.0  # A step that takes longer is timed alone.
Rounds = dict[str, list[dict[str, float]]]


def hold_contest(
    contest: Contest,
    n_rounds: int,
    n_steps: int,
    contestants: Sequence[Contestant] = CONTESTANTS,
) -> tuple[Rounds, dict[str, dict[str, int]]]:
    """Let the contestants take turns.

    Args:
        contest: The common setting.
        n_rounds: How often each has its turn.
        n_steps: Steps of a turn; one for those that need long.
        contestants: Who takes part.

    Returns:
        For each name, the figures of every round, and those of its peak memory.
    """
    processes: list[ContestantProcess] = []
    rounds: Rounds = {contestant.name: [] for contestant in contestants}
    try:
        for contestant in contestants:
            print(f"building: {contestant.name}", file=sys.stderr)
            processes.append(ContestantProcess(contestant.name, contest))
        for number in range(n_rounds):
            for process in processes:
                before = rounds[process.name]
                is_long = bool(before) and before[0]["seconds"] > _LONG_SECONDS
                before.append(process.run(1 if is_long or not before else n_steps))
                speed = contest.batch_size / before[-1]["seconds"]
                place = f"round {number + 1} of {n_rounds}"
                print(f"{place}: {process.name}: {speed:.2f} images/s", file=sys.stderr)
        memory = {process.name: process.finish() for process in processes}
    finally:
        for process in processes:
            process.stop()
    return rounds, memory


def summarise(
    contest: Contest,
    rounds: Rounds,
    memory: dict[str, dict[str, int]],
    data_seconds: dict[str, float],
    *,
    auto_precision: str,
    clock: str = "wall",
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The result of kind `training-speed`, as benchmarks/README.md describes it."""
    rows = []
    seconds = "processor_seconds" if clock == "processor" else "seconds"
    for contestant in CONTESTANTS:
        figures = rounds[contestant.name]
        speeds = [contest.batch_size / figure[seconds] for figure in figures]
        rows.append(
            {
                "name": contestant.name,
                "precision": contestant.precision.replace("auto", auto_precision),
                "images_per_second": median(speeds),
                "repeats": speeds,
                "seconds": [figure["seconds"] for figure in figures],
                "processor_seconds": [figure["processor_seconds"] for figure in figures],
                **memory[contestant.name],
                "how": contestant.how.replace("{rank}", str(contest.rank)),
            }
        )
    by_name = {row["name"]: row for row in rows}
    faster = max((PEFT_HALF, PEFT_MIXED), key=lambda name: by_name[name]["images_per_second"])
    return {
        "setting": _describe(contest, len(rounds[MEDLORA]), clock),
        "rows": rows,
        "ratios": list_ratios(faster),
        "data": share_data(
            data_seconds, contest.batch_size / by_name[MEDLORA]["images_per_second"]
        ),
        "notes": [f"Of PEFT's two ways in bf16 the faster one, {faster!r}, is compared.", *notes],
    }


def list_ratios(faster: str) -> list[dict[str, Any]]:
    """What is compared; `faster` is the better one of PEFT's two ways in bf16."""
    speed, memory = "images_per_second", "peak_memory_bytes"
    ratios: list[dict[str, Any]] = []
    for ours in (MEDLORA_STEP, MEDLORA):
        ratios += [
            {"of": ours, "to": PEFT, "measure": speed, "at_least": 3},
            {"of": ours, "to": faster, "measure": speed, "at_least": 1.05},
            {"of": ours, "to": PEFT_KEPT, "measure": speed},
            {"of": ours, "to": PEFT_HALF_KEPT, "measure": speed},
            {"of": ours, "to": FLOOR, "measure": speed, "at_least": 0.85},
            {"of": ours, "to": FROZEN_FLOOR, "measure": speed, "at_least": 0.85},
            {"of": ours, "to": FULL, "measure": speed},
            {"of": ours, "to": FULL, "measure": memory, "at_most": 0.6},
        ]
    increase = "peak_memory_increase_bytes"
    return [*ratios, {"of": MEDLORA_STEP, "to": FULL, "measure": increase}]


def share_data(seconds: dict[str, float], step_seconds: float) -> dict[str, float]:
    """Shares of the time of training that go into reading, augmentation, and decoding.

    Args:
        seconds: As `time_data` gives them.
        step_seconds: A whole step of this project's loop.
    """
    each_time = seconds["reading"] + seconds["augmentation"]
    first_time = each_time - seconds["reading"] + seconds["decoding"]
    epochs = (EPOCHS - 1) * each_time + first_time
    return {
        **{f"{name}_seconds": value for name, value in seconds.items()},
        "step_seconds": step_seconds,
        "share": each_time / step_seconds,
        "share_with_decoding": epochs / (EPOCHS * step_seconds),
        "epochs": EPOCHS,
    }


def main(arguments: Sequence[str] | None = None, folder: Path = RESULTS) -> int:
    """Measure, print the table, and write the result file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of every contestant")
    parser.add_argument("--steps", type=int, default=2, help="steps of a turn")
    parser.add_argument("--threads", type=int, default=0, help="0 for one on every core")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall", help=_CLOCK_HELP)
    parser.add_argument("--quick", action="store_true", help="a tiny model; nothing is written")
    parser.add_argument("--note", action="append", default=[], help="a remark for the result")
    options = parser.parse_args(arguments)
    setting = QUICK if options.quick else Contest()
    contest = Contest(**vars(setting) | {"n_threads": options.threads or os.cpu_count() or 1})
    loads = [os.getloadavg()[0]]
    data_seconds = time_data(contest, options.clock)
    rounds, memory = hold_contest(contest, options.rounds, options.steps)
    loads.append(os.getloadavg()[0])
    auto = "bf16" if "bfloat16" in str(choose_dtype()) else "fp32"
    notes = [*describe_load(loads[0], loads[1]), *options.note]
    result = summarise(
        contest,
        rounds,
        memory,
        data_seconds,
        auto_precision=auto,
        clock=options.clock,
        notes=notes,
    )
    result |= {"load": loads}
    print(render_training_speed(result))
    if not options.quick:
        print(write_result(NAME, NAME, result, seed=0, folder=folder), file=sys.stderr)
    return 0


def _describe(contest: Contest, n_rounds: int, clock: str) -> str:
    second = " A second is one of processor time." if clock == "processor" else ""
    threads = "1 thread" if contest.n_threads == 1 else f"{contest.n_threads} threads"
    return (
        f"{contest.backbone} with random weights, rank {contest.rank}, batches of "
        f"{contest.batch_size} images, {threads}, {n_rounds} rounds in which all "
        f"take turns: medians, and in brackets the range.{second}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
