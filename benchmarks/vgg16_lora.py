"""Low-rank layers in VGG16 for brain tumours; what is finished is not run again.

    python -m benchmarks.vgg16_lora --data ../shared/data/brain_tumor_mri
    python -m benchmarks.vgg16_lora --parts published,grid,rank
    python -m benchmarks.vgg16_lora --parts method --only "linear probe"

The runs are those of `medlora reproduce vgg16-lora`; this writes docs/results/vgg16-lora-PART.json
for every part that was asked for. A trial without finished runs here keeps the figures that were
recorded before, with the machine and the commit that they are from.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, describe_origin, read_record, show_line, write_result
from medlora.allocator import keep_large_blocks
from medlora.data.cache import default_cache
from medlora.experiments.vgg16_lora import read_part, run_vgg16
from medlora.experiments.vgg16_plan import Vgg16Plan

KIND = "vgg16-lora"


def keep_recorded(found: dict[str, Any], path: Path) -> dict[str, Any]:
    """A part's figures, and those of earlier records where a trial has no finished runs.

    Args:
        found: What `read_part` gives; trials that are in no record stay in `not_run`.
        path: The record of before, which may be missing.

    Returns:
        The same, each kept row or fault with `origin`, a sentence on where it was measured.
    """
    record = read_record(path)
    if record is None:
        return found
    before = record["result"]
    kept: dict[str, Any] = {"grid": found["grid"] or before["grid"]}
    missing = set(found["not_run"])
    origin = describe_origin(record)
    for kind in ("rows", "failed"):
        old = [{"origin": origin, **row} for row in before[kind] if row["name"] in missing]
        kept[kind] = sorted(
            [*found[kind], *old], key=lambda row: found["trials"].index(row["name"])
        )
    known = {row["name"] for row in [*kept["rows"], *kept["failed"]]}
    kept["not_run"] = [name for name in found["not_run"] if name not in known]
    return found | kept


def main() -> None:
    """Run what is missing, then write the figures of every trial that is finished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/brain_tumor_mri"))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/vgg16-lora"))
    parser.add_argument("--parts", default="", help="run and write these alone")
    parser.add_argument("--only", default="", help="run no trials but those with this in the name")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    keep_large_blocks()
    plan = Vgg16Plan(
        arguments.data,
        tuple(part for part in arguments.parts.split(",") if part),
        tuple(range(arguments.seeds)),
        only=arguments.only,
    )
    run_vgg16(plan, arguments.runs, cache=default_cache(), progress=show_line)
    for part in plan.chosen:
        name = f"{KIND}-{part}"
        found = keep_recorded(read_part(plan, arguments.runs, part), RESULTS / f"{name}.json")
        path = write_result(name, KIND, found, seed=0)
        print(f"{path} written; make docs writes the tables from it")


if __name__ == "__main__":
    main()
