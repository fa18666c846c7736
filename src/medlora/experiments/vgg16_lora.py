"""The paper on low-rank layers in VGG16 for brain tumours: as published, and done right.

Reference:
    Enhancing Brain Tumor Classification: VGG16 with Low-Rank Adaptation (LoRA).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medlora.data.cache import ImageCache, NoCache
from medlora.errors import DivergenceError, SettingsError
from medlora.experiments.arms import ArmRuns
from medlora.experiments.vgg16_plan import PART_NAMES, Trial, Vgg16Plan
from medlora.experiments.vgg16_trials import list_trials, plan_grid, plan_run, read_best
from medlora.progress import Progress, silent
from medlora.runs.folder import RunFolder, read_json, write_json
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
    watched: dict[str, Any] = {
        "cache": cache,
        "progress": progress,
        "should_stop": should_stop,
    }
    for part in plan.chosen:
        if part == "grid":
            searched = run_search(plan_grid(plan), TuneFolder(folder / "grid"), **watched)
            if searched.ended != "finished":
                return False
            continue
        everything = list_trials(plan, folder, part)
        trials = [each for each in everything if plan.only in each.name]
        if not trials:
            raise SettingsError(
                f"The part {part!r} has no trial with {plan.only!r} in its name; it has "
                f"{', '.join(repr(each.name) for each in everything)}."
            )
        for number, trial in enumerate(trials):
            progress(PART_NAMES[part], number, len(trials))
            if not _run_trial(plan, trial, folder, watched):
                return False
        progress(PART_NAMES[part], len(trials), len(trials))
    return True


def _run_trial(plan: Vgg16Plan, trial: Trial, folder: Path, watched: dict[str, Any]) -> bool:
    """Train a trial, or go on with it; false where it was asked to stop."""
    runs = ArmRuns(trial.arm, folder / trial.folder)
    run_plan = replace(
        plan_run(plan),
        name=f"vgg16-lora-{trial.part}",
        weights=trial.weights,
        cache_features="auto" if isinstance(watched["cache"], NoCache) else trial.cache_features,
    )
    if _read_fault(runs):
        runs.check(run_plan)
        return True
    try:
        return runs.run(run_plan, **watched)
    except DivergenceError as error:
        # That training diverges is a result, and the next trial another one.
        write_json(_place_fault(runs), {"error": str(error)})
        return True


def read_vgg16(plan: Vgg16Plan, folder: Path) -> dict[str, Any]:
    """What the finished trials found, as plain JSON values: `parts`, each as `read_part` has it."""
    return {"parts": [read_part(plan, folder, part) for part in plan.chosen]}


def read_part(plan: Vgg16Plan, folder: Path, part: str) -> dict[str, Any]:
    """What the finished trials of a part found, as plain JSON values.

    Returns:
        `part`, `title`, `trials` (names, in order), `not_run` (names), `failed` (`name`,
        `published` and `error` of trials in which training ran away) and `rows`: those of
        `ArmRuns.read`, with `name`, `published` and `constant`, the sentence on an answer that
        never changes (empty where answers differ). `grid` is null but for the grid, which has its
        `trials` (`values`, `score`) and the `best` one in it once it is finished.

    Raises:
        SettingsError: The part needs the grid, and the grid is not finished.
    """
    trials = [] if part == "grid" else list_trials(plan, folder, part)
    rows, not_run, failed = [], [], []
    for trial in trials:
        runs = ArmRuns(trial.arm, folder / trial.folder)
        fault = _read_fault(runs)
        if fault:
            failed.append({"name": trial.name, "published": trial.published, "error": fault})
            continue
        if not runs.is_finished:
            not_run.append(trial.name)
            continue
        about = {"name": trial.name, "published": trial.published}
        for row in runs.read():
            place = runs.seed_folder(row["seed"])
            rows.append(about | {"constant": _find_constant(place)} | row)
    return {
        "part": part,
        "title": PART_NAMES[part],
        "trials": [trial.name for trial in trials],
        "rows": rows,
        "not_run": not_run,
        "failed": failed,
        "grid": _read_grid(folder) if part == "grid" else None,
    }


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


def _place_fault(runs: ArmRuns) -> Path:
    return runs.folder / "failed.json"


def _read_fault(runs: ArmRuns) -> str:
    """Why a trial could not be trained; empty where it could, or has not been tried."""
    place = _place_fault(runs)
    return str(read_json(place, "fault of a trial")["error"]) if place.is_file() else ""


def _find_constant(run: RunFolder) -> str:
    """The warning on an answer that never changes; empty where there is none."""
    warnings: Sequence[str] = read_json(run.evaluation, "evaluation")["warnings"]
    # Those of validation stand before those of the test images.
    found = [each for each in warnings if each.startswith("Every image is called")]
    return found[-1] if found else ""
