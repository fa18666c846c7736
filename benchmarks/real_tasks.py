"""Brain-tumour MRI as its folders give it: linear probe, adapter and full fine-tuning.

For each backbone and method the learning rate is chosen on validation images from the same
number of tries; then the chosen rate is run with each seed. Every run is a `medlora train` run
in a folder of its own: what is finished is not done again, and what was stopped goes on. Every two
arms are compared, which takes the answers of both. A recorded arm whose runs are gone keeps its
figures, and what was said of it beside the others, with the machine and the commit that they are
from.

    python -m benchmarks.real_tasks --data ../shared/data/brain_tumor_mri
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, describe_origin, read_record, show_line, write_result
from medlora.allocator import keep_large_blocks
from medlora.data.cache import default_cache
from medlora.experiments.arms import Arm, ArmRuns
from medlora.experiments.augmentations import BRAIN_MRI, vary_mildly
from medlora.runs.comparing import compare_runs
from medlora.runs.folder import RunPlan
from medlora.train.settings import TrainSettings

NAME = "brain-tumor-mri"
TINY = "vit_tiny_patch16_224"
CLIP = "vit_base_patch16_clip_quickgelu_224.openai"
COMMON = TrainSettings(
    batch_size=32,
    label_smoothing=0.05,
    weight_decay=0.01,
    calibration="none",
    augmentation=BRAIN_MRI,
)


def _arm(
    backbone: str,
    method: Any,
    rates: tuple[float, ...],
    *,
    epochs: int,
    try_epochs: int,
    seeds: tuple[int, ...],
    contrast: Any,
    precision: Any,
) -> Arm:
    settings = replace(
        COMMON,
        backbone=backbone,
        method=method,
        epochs=epochs,
        contrast=contrast,
        precision=precision,
    )
    return Arm(settings, rates, try_epochs, seeds)


# One try only, so that their rate is no choice: a third of the rate that short tries chose. Some
# false alarms are taken for the tumour that must not be missed, and which the argmax misses most.
_TUNED = replace(
    COMMON,
    backbone=CLIP,
    calibration="auto",
    operating_point="glioma_tumor:specificity=0.95",
    epochs=3,
)
# Smaller steps and more of them, labels smoothed more, intensities varied more.
_FOR_GLIOMAS = replace(
    _TUNED,
    batch_size=16,
    label_smoothing=0.1,
    weight_decay=0.05,
    augmentation=replace(BRAIN_MRI, contrast=0.5, brightness=0.4),
)
TUNED = {
    "tuned for gliomas": _FOR_GLIOMAS,
    # Three epochs leave some of the training images themselves unlearnt.
    "tuned longer for gliomas": replace(_FOR_GLIOMAS, epochs=5),
    # Varied intensities may cost what tells a glioma from a meningioma.
    "varied mildly": replace(
        _TUNED,
        augmentation=vary_mildly(flips=True),
        operating_point="glioma_tumor:specificity=0.9",
    ),
}


def plan_arms(contrast: str, precision: str) -> list[Arm]:
    """All arms; three rates each, a factor of about three apart, but for those of `TUNED`."""
    prepared: dict[str, Any] = {"contrast": contrast, "precision": precision}
    tiny = {"epochs": 3, "try_epochs": 1, "seeds": (0, 1, 2), **prepared}
    return [
        _arm(TINY, "linear", (1e-3, 3e-3, 1e-2), **tiny),
        _arm(TINY, "lora", (1e-3, 3e-3, 1e-2), **tiny),
        _arm(TINY, "full", (3e-5, 1e-4, 3e-4), **tiny),
        _arm(
            CLIP,
            "lora",
            (3e-4, 1e-3, 3e-3),
            epochs=4,
            try_epochs=1,
            seeds=(0,),
            **prepared,
        ),
        *(
            Arm(replace(own, **prepared), (1e-3,), own.epochs, seeds=(0,), variant=variant)
            for variant, own in TUNED.items()
        ),
    ]


def compare_arms(finished: Sequence[ArmRuns]) -> list[dict[str, Any]]:
    """Every two arms on the same test images, on all of them and on those not in training."""
    if len(finished) < 2:
        return []
    places = [
        runs.seed_folder(seed).path
        for runs in sorted(finished, key=lambda each: each.arm.settings.method != "lora")
        for seed in runs.arm.seeds
    ]
    return [
        {"test_images": words, **compare_runs(places, unseen=unseen).to_dict()}
        for words, unseen in (("All test images", False), ("Those not in training", True))
    ]


def keep_arms(result: dict[str, Any], path: Path) -> dict[str, Any]:
    """A result, with the arms of a record whose runs are not here.

    Args:
        result: `rows` and `comparisons` of all arms that are finished here.
        path: The record of before, which may be missing.

    Returns:
        The same, the kept rows first. They and the record's comparisons, which are kept with
        them, each have `origin`, a sentence on where they were measured.
    """
    record = read_record(path)
    if record is None:
        return result
    origin = describe_origin(record)
    here = {_name_arm(row) for row in result["rows"]}
    lost = [row for row in record["result"]["rows"] if _name_arm(row) not in here]
    if not lost:
        return result
    kept = [{"origin": origin, **row} for row in lost]
    # What was said of arms that are all here is said anew.
    is_newly_lost = any("origin" not in row for row in lost)
    before = [
        {"origin": origin, **each}
        for each in record["result"].get("comparisons", [])
        if is_newly_lost or "origin" in each
    ]
    known = {f"{backbone}: {method}" for backbone, method in map(_name_arm, kept)}
    missing = [name for name in result["not_run"] if name not in known]
    return result | {
        "rows": [*kept, *result["rows"]],
        "comparisons": [*before, *result["comparisons"]],
        "not_run": missing,
    }


def _spell_arm(arm: Arm) -> str:
    return f"{arm.settings.backbone}: {arm.title}"


def _name_arm(row: dict[str, Any]) -> tuple[str, str]:
    return row["backbone"], row["method"]


def main() -> None:
    """Run what is missing, then write the figures of every arm that is finished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/brain_tumor_mri"))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/brain-tumor-mri"))
    parser.add_argument("--contrast", default="none", help="none, equalize or clahe")
    parser.add_argument("--precision", default="auto", help="auto, bf16 or fp32")
    parser.add_argument("--only", help="run no arms but those whose name contains this")
    arguments = parser.parse_args()
    all_runs = [
        ArmRuns(arm, arguments.runs / arm.name)
        for arm in plan_arms(arguments.contrast, arguments.precision)
    ]
    plan = RunPlan(
        data=str(arguments.data.resolve()),
        settings=COMMON,
        name=NAME,
        note="Benchmark run; not for use on patients.",
        command=f"python -m benchmarks.real_tasks --data {arguments.data}",
        novelty=False,
    )
    keep_large_blocks()
    for runs in all_runs:
        if arguments.only is None or arguments.only in runs.arm.name:
            print(runs.arm.name, file=sys.stderr, flush=True)
            runs.run(plan, cache=default_cache(), progress=show_line)
    finished = [runs for runs in all_runs if runs.is_finished]
    rows = [{"data": "Brain tumour MRI", **row} for runs in finished for row in runs.read()]
    if not finished:
        parser.error(f"No arm has finished runs in {arguments.runs}: nothing is written.")
    result = {
        "rows": rows,
        "not_run": [_spell_arm(runs.arm) for runs in all_runs if not runs.is_finished],
        "comparisons": compare_arms(finished),
    }
    result = keep_arms(result, RESULTS / f"{NAME}.json")
    path = write_result(NAME, "real-tasks", result, seed=0)
    print(f"{path} written; make docs writes the tables from it")


if __name__ == "__main__":
    main()
