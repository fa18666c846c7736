"""Low-rank layers in VGG16 for brain tumours; what is finished is not run again.

    python -m benchmarks.vgg16_lora --data ../shared/data/brain_tumor_mri
    python -m benchmarks.vgg16_lora --parts published,grid,rank

The runs are those of `medlora reproduce vgg16-lora`; this writes docs/results/vgg16-lora.json with
every part that has finished runs.
"""

import argparse
from pathlib import Path

from benchmarks.record import show_line, write_result
from medlora.allocator import keep_large_blocks
from medlora.data.cache import default_cache
from medlora.experiments.vgg16_lora import read_vgg16, run_vgg16
from medlora.experiments.vgg16_trials import Vgg16Plan

NAME = "vgg16-lora"


def main() -> None:
    """Run what is missing, then write the figures of every trial that is finished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/brain_tumor_mri"))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/vgg16-lora"))
    parser.add_argument("--parts", default="", help="run these alone; all finished are written")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    keep_large_blocks()
    seeds = tuple(range(arguments.seeds))
    parts = tuple(part for part in arguments.parts.split(",") if part)
    run_vgg16(
        Vgg16Plan(arguments.data, parts, seeds),
        arguments.runs,
        cache=default_cache(),
        progress=show_line,
    )
    result = read_vgg16(Vgg16Plan(arguments.data, seeds=seeds), arguments.runs)
    path = write_result(NAME, NAME, result, seed=0)
    print(f"{path} written; make docs writes the tables from it")


if __name__ == "__main__":
    main()
