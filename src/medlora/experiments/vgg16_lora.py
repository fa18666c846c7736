"""The paper on low-rank layers in VGG16 for brain tumours: as published, and done right.

Reference:
    Enhancing Brain Tumor Classification: VGG16 with Low-Rank Adaptation (LoRA).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medlora.data.cache import ImageCache, NoCache
from medlora.errors import SettingsError
from medlora.experiments.arms import ArmRuns
from medlora.experiments.vgg16_trials import (
    PART_NAMES,
    Vgg16Plan,
    list_trials,
    plan_grid,
    plan_run,
    read_best,
)
from medlora.progress import Progress, silent
from medlora.runs.folder import RunFolder, read_json
from medlora.train.loop import never
from medlora.tune.plan import TuneFolder
from medlora.tune.search import run_search


def run_vgg16(
    plan: Vgg16Plan,
    folder: Path,
    *,
    cache: ImageCache | NoCache,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = never,
) -> bool:
    """Do all trials, or what is left of them, each in a folder of its own below `folder`.

    Returns:
        Whether all are finished.

    Raises:
        MedLoRAError: Images or weights are missing, or training failed.
    """
    if not plan.data.exists():
        raise SettingsError(f"{plan.data} is missing. Give the folder of brain-tumour MRI images.")
    for part in plan.chosen:
        if part == "grid":
            search = plan_grid(plan)
            done = run_search(
                search,
                TuneFolder(folder / "grid"),
                cache=cache,
                progress=progress,
                should_stop=should_stop,
            )
            if done.ended != "finished":
                return False
            continue
        trials = list_trials(plan, folder, part)
        for number, trial in enumerate(trials):
            progress(PART_NAMES[part], number, len(trials))
            run_plan = replace(
                plan_run(plan), name=f"vgg16-lora-{trial.part}", weights=trial.weights
            )
            runs = ArmRuns(trial.arm, folder / trial.folder)
            if not runs.run(run_plan, cache=cache, progress=progress, should_stop=should_stop):
                return False
        progress(PART_NAMES[part], len(trials), len(trials))
    return True


def read_vgg16(plan: Vgg16Plan, folder: Path) -> dict[str, Any]:
    """What the finished trials found, as plain JSON values.

    Returns:
        `parts`, each with `part`, `title`, `not_run` (names) and `rows`: those of
        `ArmRuns.read`, with `name`, `published`, and `constant`, the sentence on an answer that
        never changes (empty where answers differ). The grid's row is that of its best trial, and
        `grid` holds all of its `trials`: `values` and `score`.
    """
    parts = []
    for part in plan.chosen:
        if part == "grid":
            continue
        rows, not_run = [], []
        for trial in list_trials(plan, folder, part):
            runs = ArmRuns(trial.arm, folder / trial.folder)
            if not runs.is_finished:
                not_run.append(trial.name)
                continue
            about = {"name": trial.name, "published": trial.published}
            for row in runs.read():
                place = runs.seed_folder(row["seed"])
                rows.append(about | {"constant": _find_constant(place)} | row)
        parts.append({"part": part, "title": PART_NAMES[part], "rows": rows, "not_run": not_run})
    return {"parts": parts, "grid": _read_grid(folder)}


def _read_grid(folder: Path) -> dict[str, Any] | None:
    place = TuneFolder(folder / "grid")
    if not place.best.report.is_file():
        return None
    trials = read_json(place.results, "results of a search")["trials"]
    best = read_json(place.best.evaluation, "evaluation")
    settings = read_best(folder)
    return {
        "trials": [{"values": row["values"], "score": row["score"]} for row in trials],
        "best": {
            "settings": settings.to_dict(),
            "all": best["all"],
            "unseen": best["unseen"],
            "constant": _find_constant(place.best),
        },
    }


def _find_constant(run: RunFolder) -> str:
    """The warning on an answer that never changes; empty where there is none."""
    warnings: Sequence[str] = read_json(run.evaluation, "evaluation")["warnings"]
    return next((each for each in warnings if each.startswith("Every image is called")), "")
