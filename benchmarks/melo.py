"""MeLo's experiment 1 on public images; what is finished is not run again.

    python -m benchmarks.melo --data ../shared/data                      # ViT-Ti/16, three seeds
    python -m benchmarks.melo --data ../shared/data --only breast        # one task of it

The runs are those of `medlora reproduce melo`; this writes docs/results/melo-BACKBONE.json. A task
of which fewer methods have finished runs here than were recorded before keeps its figures, with the
machine and the commit that they are from.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, describe_origin, read_record, show_line, write_result
from medlora.allocator import keep_large_blocks
from medlora.data.cache import default_cache
from medlora.experiments.melo import METHODS, TASKS, MeloPlan, read_melo, run_melo


def plan_all(arguments: argparse.Namespace, tasks: tuple[str, ...]) -> MeloPlan:
    """The plan of some tasks."""
    chosen: Any = tuple(arguments.methods.split(","))
    return MeloPlan(
        data=arguments.data,
        backbone=arguments.backbone,
        tasks=tasks,
        methods=chosen,
        seeds=tuple(range(arguments.seeds)),
        epochs=arguments.epochs,
        precision=arguments.precision,
    )


def keep_tasks(found: dict[str, Any], path: Path) -> dict[str, Any]:
    """The figures of all tasks, of each those of a record where it has more.

    Args:
        found: What `read_melo` gives.
        path: The record of before, which may be missing.

    Returns:
        The same, each kept task with `origin`, a sentence on where it was measured.
    """
    record = read_record(path)
    if record is None:
        return found
    origin = describe_origin(record)
    before = {task["name"]: {"origin": origin, **task} for task in record["result"]["tasks"]}
    tasks = [
        before[task["name"]]
        if _count_methods(before.get(task["name"])) > _count_methods(task)
        else task
        for task in found["tasks"]
    ]
    return found | {"tasks": tasks}


def _count_methods(task: dict[str, Any] | None) -> int:
    return len({row["method"] for row in task["rows"]}) if task else 0


def main() -> None:
    """Run what is missing, then write the figures of every method that is finished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/melo"))
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="of a final run; else the task's own")
    parser.add_argument("--precision", default="auto", help="auto, bf16 or fp32")
    parser.add_argument("--only", help="run this task alone; all that is finished is written")
    arguments = parser.parse_args()
    folder = arguments.runs / arguments.backbone.partition(".")[0]
    keep_large_blocks()
    only = (arguments.only,) if arguments.only else tuple(task.name for task in TASKS)
    run_melo(plan_all(arguments, only), folder, cache=default_cache(), progress=show_line)
    result = read_melo(plan_all(arguments, ()), folder)
    name = f"melo-{folder.name.replace('_', '-')}"
    result = keep_tasks(result, RESULTS / f"{name}.json")
    path = write_result(name, "melo", result, seed=0)
    print(f"{path} written; make docs writes the tables from it")


if __name__ == "__main__":
    main()
