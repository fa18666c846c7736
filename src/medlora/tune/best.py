"""The run with the best trial's settings, which is the first to read the test images."""

import shutil
from collections.abc import Callable
from dataclasses import replace

from lightning_fabric import Fabric

from medlora.data.cache import ImageCache, NoCache
from medlora.progress import Progress
from medlora.runs.folder import RunFolder, RunPlan
from medlora.runs.results import RunResult
from medlora.runs.training import resume_run, start_run
from medlora.storage import replace_folder
from medlora.task.precision import Chosen
from medlora.train.settings import TrainSettings
from medlora.tune.plan import TuneFolder


def run_best(
    plan: RunPlan,
    folder: TuneFolder,
    *,
    precision: Chosen | None,
    cache: ImageCache | NoCache,
    fabric: Fabric,
    progress: Progress,
    should_stop: Callable[[], bool],
) -> RunResult:
    """Train and test the best settings, or go on with that, until `best` holds the result.

    A run of other settings, which were the best before there were more trials, stays in `best`
    until this one is finished, and is then replaced by it.

    Args:
        plan: Data, weights and the best settings.
        folder: The search's folder, which no other process may write to meanwhile.
        precision: What trials were computed in that leave it open.
        cache: Where decoded images are kept.
        fabric: Device, launched.
        progress: Told of every step.
        should_stop: Asked after every step.

    Raises:
        MedLoRAError: Data or weights are not usable, training failed, or a file cannot be written.
    """
    done, draft = folder.best, folder.next_best
    is_done = _is_of(done, plan.settings)
    if draft.path.exists() and (is_done or not _is_of(draft, plan.settings)):
        shutil.rmtree(draft.path)
    place = done if is_done else draft
    if place.plan.is_file():
        result = resume_run(
            place.path, cache=cache, fabric=fabric, progress=progress, should_stop=should_stop
        )
    else:
        result = start_run(
            plan,
            place.path,
            precision=precision,
            cache=cache,
            fabric=fabric,
            progress=progress,
            should_stop=should_stop,
        )
    if is_done or result.ended == "stopped":
        return result
    replace_folder(draft.path, done.path)
    return replace(result, task=done.task, report=done.report)


def _is_of(place: RunFolder, settings: TrainSettings) -> bool:
    """Whether a folder holds a run of these settings, finished or not."""
    if not place.plan.is_file():
        return False
    return RunPlan.from_dict(place.read_record()["plan"]).settings == settings
