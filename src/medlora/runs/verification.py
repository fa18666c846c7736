"""Many task files checked as strictly as when one is used: digest, backbone, self-check."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medlora.backbones.weights import Backbone
from medlora.errors import BackboneError, MedLoRAError
from medlora.progress import Progress, silent
from medlora.runs.opened import find_backbone
from medlora.storage import read_file
from medlora.task.catalogue import spell_path
from medlora.task.file import Task, unpack_task
from medlora.task.heading import read_heading
from medlora.task.opening import build_model, run_self_check
from medlora.task.records import BackboneReference


@dataclass(frozen=True)
class Verification:
    """What checking a task file has found.

    Attributes:
        path: The file.
        task: The task's name; None where the file does not get as far as telling it.
        backbone: The backbone that its card names; None likewise.
        difference: Largest difference between an answer now and one in its card, as a
            probability; None where the card holds no answers, or a check failed before.
        fault: Why the file cannot be used, in one line that names it; None where it can.
    """

    path: Path
    task: str | None = None
    backbone: BackboneReference | None = None
    difference: float | None = None
    fault: str | None = None


def verify_task_files(
    paths: Sequence[Path],
    *,
    weights: Path | str | None = None,
    progress: Progress = silent,
) -> Iterator[Verification]:
    """Load each task strictly, find its backbone, and repeat its self-check.

    A backbone is loaded once for all of its tasks, and only one is held at a time. A task whose
    card holds no answers is built on its backbone all the same.

    Args:
        paths: The files.
        weights: The backbone's checkpoint, for all of them; None to look for each.
        progress: Told of each finished file.

    Yields:
        One result for each file as it is found, those of one backbone after one another.
    """
    groups: dict[tuple[str, bool], list[Verification]] = {}
    n_done = 0
    for path in paths:
        try:
            card = read_heading(path, spell_path(str(path))).card
        except MedLoRAError as error:
            n_done += 1
            progress("verifying", n_done, len(paths))
            yield Verification(path, fault=str(error))
            continue
        # Without weights given, a task that holds every weight needs the architecture alone.
        alone = card.method == "full" and weights is None
        heading = Verification(path, card.name, card.backbone)
        groups.setdefault((card.backbone.name, alone), []).append(heading)
    for group in groups.values():
        for result in _verify_group(group, weights):
            n_done += 1
            progress("verifying", n_done, len(paths))
            yield result


def _verify_group(group: list[Verification], weights: Path | str | None) -> Iterator[Verification]:
    """Check tasks that name one backbone."""
    backbone: Backbone | BackboneError | None = None
    for known in group:
        place = spell_path(str(known.path))
        try:
            # Before the backbone: a damaged file is known to be one whether or not it is found.
            task = unpack_task(read_file(known.path, "task file"), place)
        except MedLoRAError as error:
            yield replace(known, fault=str(error))
            continue
        if backbone is None:
            backbone = _look_for_backbone(task, weights)
        yield _verify_task(task, backbone, known, place)


def _verify_task(
    task: Task, backbone: Backbone | BackboneError, known: Verification, place: str
) -> Verification:
    if isinstance(backbone, BackboneError):
        return replace(known, fault=f"{place}: {backbone}")
    try:
        if task.card.self_check is not None:
            difference = run_self_check(task, backbone, place=place)
            return replace(known, difference=difference)
        build_model(task, backbone, place=place)
    except MedLoRAError as error:
        return replace(known, fault=str(error))
    return known


def _look_for_backbone(task: Task, weights: Path | str | None) -> Backbone | BackboneError:
    try:
        return find_backbone(task, weights)
    except BackboneError as error:
        return error
