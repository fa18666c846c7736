"""Going on with what was stopped: its processes, weights and images have to be those of before."""

from collections.abc import Mapping
from typing import Any

from lightning_fabric import Fabric

from medlora.data.cache import ImageCache, NoCache
from medlora.errors import DataError, SettingsError
from medlora.progress import Progress
from medlora.runs.folder import RunFolder, RunPlan
from medlora.runs.ongoing import OngoingRun
from medlora.runs.preparing import PreparedData
from medlora.task.precision import DTYPES


def reopen_run(
    place: RunFolder,
    record: Mapping[str, Any],
    cache: ImageCache | NoCache,
    fabric: Fabric | None,
    progress: Progress,
    *,
    what: str = "run",
) -> OngoingRun:
    """What a folder was begun with, without what a killed process left half written.

    Args:
        place: The folder.
        record: `plan`, `n_processes`, `backbone_fingerprint` and `precision`, as it was begun.
        cache: Where decoded images are kept.
        fabric: Devices and processes, launched; one process on the CPU where None.
        progress: Told of every step.
        what: What the folder holds, for errors.

    Raises:
        SettingsError: There are more processes or fewer, the weights are others, or the record
            is not what a run writes.
    """
    plan = RunPlan.from_dict(record["plan"])
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    if fabric.world_size != record["n_processes"]:
        raise SettingsError(
            f"The {what} in {place.path} was started with {record['n_processes']} process(es), "
            f"not {fabric.world_size}. Go on with --devices {record['n_processes']}."
        )
    fabric.barrier()
    if fabric.is_global_zero:
        place.remove_parts()
    # Runs from before it was written down computed in what is chosen anew.
    precision = record.get("precision")
    if precision is not None and precision not in DTYPES:
        raise SettingsError(
            f"The {what} in {place.path} was started in the precision {precision!r}, which there "
            f"is not; there are {', '.join(DTYPES)}. Start anew."
        )
    run = OngoingRun(plan, place, cache, fabric, progress, precision=precision)
    if run.backbone.fingerprint != record["backbone_fingerprint"]:
        raise SettingsError(
            f"The {what} in {place.path} was started on {plan.settings.backbone}@"
            f"{record['backbone_fingerprint'][:6]}; the weights now found are "
            f"@{run.backbone.fingerprint[:6]}. Put the first ones back, or start anew."
        )
    return run


def check_images(
    run: OngoingRun, data: PreparedData, record: Mapping[str, Any], *, what: str = "run"
) -> None:
    """See that images are those that a folder was begun with.

    Args:
        run: As `reopen_run` gave it.
        data: The images that are found now.
        record: `data_sha256`, as it was begun.
        what: What the folder holds, for the error.

    Raises:
        DataError: They are not.
    """
    if data.digest != record["data_sha256"]:
        raise DataError(
            f"The images of {run.plan.data} are not those that the {what} in {run.folder.path} "
            "was started with: a file has changed, come or gone. Put them back, or start anew."
        )
