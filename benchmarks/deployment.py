"""What it costs to serve several tasks on one backbone, for some backbones.

    python -m benchmarks.deployment           # writes docs/results/deployment.json and figures
    python -m benchmarks.deployment --backbones vit_gigantic_patch14_clip_224 --name deployment-gpu
    python -m benchmarks.deployment --quick   # a tiny network, written nowhere

The measuring is `medlora bench deployment`'s.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.deployment_table import render_deployment
from benchmarks.record import BUSY_LOAD, RESULTS, write_result
from medlora.allocator import keep_large_blocks
from medlora.experiments.deployment import measure_deployment
from medlora.experiments.deployment_figure import draw_deployment
from medlora.experiments.deployment_settings import DeploymentSettings
from medlora.experiments.workload import Workload
from medlora.storage import write_atomically

NAME = "deployment"
BACKBONES = ("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224")
QUICK = ("test_vit",)


def measure_all(backbones: Sequence[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """One result for each backbone, laid out as `medlora.experiments.deployment_layout` says."""
    results = []
    for backbone in backbones:
        settings = DeploymentSettings(
            backbone=backbone,
            weights="random",
            workload=Workload(options.tasks, options.images),
            n_rounds=options.rounds,
            n_threads=options.threads or None,
        )
        result = measure_deployment(settings, progress=_report, prepare=keep_large_blocks)
        results.append(result)
    return results


def _describe_loads(results: Sequence[dict[str, Any]]) -> list[str]:
    """A remark for each backbone that was measured while the machine had other work."""
    return [
        f"The machine had other work while {result['backbone']} was measured: its load was "
        f"{result['load'][0]:.1f} before the first turn."
        for result in results[:1]
        if (result["load"][0] or 0) > BUSY_LOAD
    ]


def main(arguments: Sequence[str] | None = None, folder: Path = RESULTS) -> int:
    """Measure, print the tables, and write the result file and the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deployment", description=__doc__)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES), help="timm's names")
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5, help="passes over all images")
    parser.add_argument("--threads", type=int, default=0, help="0 for PyTorch's choice")
    parser.add_argument("--name", default=NAME, help="of the result file")
    parser.add_argument("--note", action="append", default=[], help="a remark for the result")
    parser.add_argument("--quick", action="store_true", help="a tiny network; nothing is written")
    options = parser.parse_args(arguments)
    results = measure_all(QUICK if options.quick else options.backbones, options)
    if not options.quick:
        for measured in results:
            figure = folder.parent / "images" / f"{options.name}-{measured['backbone']}.svg"
            write_atomically(figure, draw_deployment(measured, figure))
            measured["figure"] = f"images/{figure.name}"
    result = {"backbones": results, "notes": [*_describe_loads(results), *options.note]}
    print(render_deployment(result))
    if not options.quick:
        print(write_result(options.name, NAME, result, seed=0, folder=folder), file=sys.stderr)
    return 0


def _report(stage: str, done: int, total: int, **figures: float) -> None:
    print(f"\r{stage}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
