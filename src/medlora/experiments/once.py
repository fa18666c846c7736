"""One run of an experiment: done once, and taken for another only where it is the same."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from medlora.data.cache import ImageCache, NoCache
from medlora.errors import SettingsError
from medlora.progress import Progress, silent
from medlora.runs.folder import RunFolder, RunPlan
from medlora.runs.training import resume_run, start_run
from medlora.train.loop import never

# What a plan says, beside its settings, on which a run's figures depend.
_GIVEN = ("data", "weights", "group_by", "skip_unreadable", "allow_patient_overlap")


def run_once(
    plan: RunPlan,
    place: RunFolder,
    *,
    cache: ImageCache | NoCache,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = never,
) -> bool:
    """Do one run, or what is left of it; nothing where it has its report.

    Returns:
        Whether it is finished.

    Raises:
        SettingsError: The folder holds a run on other data or with other settings.
    """
    if place.plan.is_file():
        check_run(place, plan)
    if place.report.is_file():
        return True
    if place.plan.is_file() and place.split.is_file():
        result = resume_run(place.path, cache=cache, progress=progress, should_stop=should_stop)
    else:
        result = start_run(
            plan, place.path, cache=cache, progress=progress, should_stop=should_stop
        )
    return result.ended != "stopped"


def check_run(place: RunFolder, wanted: RunPlan) -> None:
    """See that a folder's run is the one that is wanted.

    Raises:
        SettingsError: It was given other data, weights or settings.
    """
    found = RunPlan.from_dict(place.read_record()["plan"])
    ours, theirs = _describe(wanted), _describe(found)
    other = [
        f"{key} {theirs[key]!r} instead of {ours[key]!r}"
        for key in ours
        if ours[key] != theirs[key]
    ]
    if other:
        raise SettingsError(
            f"{place.path} holds another run ({', '.join(other)}). Move it away to train with "
            "these, or choose another folder."
        )


def _describe(plan: RunPlan) -> dict[str, Any]:
    """What two runs of an arm must have in common."""
    given = {key: getattr(plan, key) for key in _GIVEN}
    return asdict(plan.settings.reduce()) | given
