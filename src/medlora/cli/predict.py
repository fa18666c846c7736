"""`medlora predict`: answers for images, in their order, from one task or from many."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medlora.cli.answer_files import (
    RESERVATION_COLUMNS,
    AnswerFiles,
    Rows,
    check_files,
    describe_reservations,
    list_reservations,
    spell_location,
)
from medlora.cli.image_list import STANDARD_INPUT, list_cases, list_images
from medlora.cli.options import (
    BatchOption,
    DeviceOption,
    PrecisionOption,
    WeightsOption,
    count_bytes,
)
from medlora.cli.terminal import show_progress, warn

if TYPE_CHECKING:
    from medlora.data.source import ImageSource
    from medlora.runs.banking import OpenedBank
    from medlora.runs.mixed import RoutedPrediction
    from medlora.runs.prediction import Prediction


def predict_files(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TASK IMAGES...",
            help="Task file, then image files and folders; - reads paths from standard input. "
            "With --tasks, images only.",
            show_default=False,
        ),
    ] = None,
    tasks: Annotated[
        Path | None,
        typer.Option(help="Ask the task files of this folder, all on one backbone."),
    ] = None,
    route: Annotated[
        Path | None,
        typer.Option(
            help="With --tasks: table with the columns path and task (or tasks, joined by |). "
            "Without it every image is asked every task."
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="With --tasks: the backbone, where the folder's tasks have several."),
    ] = None,
    task_memory: Annotated[
        float | None,
        typer.Option(min=0, help="With --tasks: bound in MB of the tasks held at once."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the answers here as a JSON list.")
    ] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write them here as CSV.")] = None,
    weights: WeightsOption = None,
    batch_size: BatchOption = 32,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
) -> None:
    """Answer for each image with a probability for each class and a decision.

    Answers keep the images' order. An image that cannot be read gets an answer that says why.
    """
    from medlora.errors import SettingsError

    check_files(json_file, csv_file)
    given = list(paths or [])
    if tasks is None:
        if route is not None or backbone is not None or task_memory is not None:
            raise SettingsError("--route, --backbone and --task-memory go with --tasks FOLDER.")
        _predict_one(given, json_file, csv_file, weights, batch_size, device, precision)
        return
    from medlora.runs.banking import open_bank

    opened = open_bank(
        tasks,
        backbone=backbone,
        weights=weights,
        byte_budget=None
        if task_memory is None
        else count_bytes(task_memory * 1e6, "--task-memory"),
        device=device,
        precision=precision,  # type: ignore[arg-type]  # checked where it is used
    )
    warn([f"not served: {reason}" for reason in opened.refused.values()])
    _predict_many(opened, given, route, json_file, csv_file, batch_size)


def _predict_one(
    paths: list[str],
    json_file: Path | None,
    csv_file: Path | None,
    weights: str | None,
    batch_size: int,
    device: str,
    precision: str,
) -> None:
    from medlora.errors import SettingsError
    from medlora.runs.opened import open_task
    from medlora.runs.prediction import predict_images

    if len(paths) < 2:
        missing = "a task file and images" if not paths else "images after the task file"
        raise SettingsError(f"Give {missing}, or a folder of task files with --tasks.")
    opened = open_task(
        Path(paths[0]),
        weights=weights,
        device=device,
        precision=precision,  # type: ignore[arg-type]  # checked where it is used
    )
    channels = opened.card.preprocessing.channels
    source, locations, total = (
        list_cases(paths[1:], channels) if channels else list_images(paths[1:])
    )
    classes = opened.card.classes

    def list_rows(answer: "Prediction") -> Rows:
        values = answer.probabilities
        cells = [repr(value) for value in values] if values else [""] * len(classes)
        place = spell_location(answer.location)
        reserved = list_reservations(answer)
        return [[place, answer.decision or "", *cells, answer.error or "", *reserved]]

    def describe(answer: "Prediction") -> dict[str, Any]:
        record: dict[str, Any] = {"file": spell_location(answer.location)}
        if answer.probabilities is None:
            return record | {"error": answer.error}
        record["decision"] = answer.decision
        record["probabilities"] = dict(zip(classes, answer.probabilities, strict=True))
        return record | describe_reservations(answer)

    columns = [f"p_{name}" for name in classes]
    header = ["file", "decision", *columns, "error", *RESERVATION_COLUMNS]
    with AnswerFiles(header, list_rows, describe).open(json_file, csv_file) as write:
        answers = predict_images(opened, source, locations, batch_size=batch_size)
        counts = _write_all(answers, write, total, lambda answer: bool(answer.abstain))
    _report(*counts)


def _predict_many(
    opened: "OpenedBank",
    paths: list[str],
    route: Path | None,
    json_file: Path | None,
    csv_file: Path | None,
    batch_size: int,
) -> None:
    from medlora.runs.mixed import predict_routed

    source, questions, total = _list_questions(opened, paths, route)
    header = ["file", "task", "decision", "probabilities", "error", *RESERVATION_COLUMNS]
    files = AnswerFiles(header, _list_routed, _describe_routed)
    with files.open(json_file, csv_file) as write:
        answers = predict_routed(opened.bank, source, questions, batch_size=batch_size)
        counts = _write_all(answers, write, total, _is_reserved)
    _report(*counts)


def _list_questions(
    opened: "OpenedBank", paths: list[str], route: Path | None
) -> tuple["ImageSource", Iterable[tuple[str, tuple[str, ...]]], int | None]:
    """Which images ask which tasks; the tasks that are asked by a route prove themselves first."""
    from medlora.data.routes import read_routes
    from medlora.errors import SettingsError

    bank = opened.bank
    if route is None:
        if not paths:
            raise SettingsError("Give images, or a table of images and tasks with --route.")
        bank.verify()
        source, locations, total = list_images(paths)
        names = bank.names
        return source, ((location, names) for location in locations), total
    routes = read_routes(route)
    if paths:
        if STANDARD_INPUT in paths:
            raise SettingsError("--route lists the images: - cannot be given beside it.")
        _, chosen, _ = list_images(paths)
        routes = routes.choose(tuple(chosen))
    bank.verify(tuple(dict.fromkeys(name for names in routes.tasks for name in names)))
    questions = zip(routes.locations, routes.tasks, strict=True)
    return routes.source, questions, len(routes.locations)


def _list_routed(answer: "RoutedPrediction") -> Rows:
    place = spell_location(answer.location)
    if answer.answers is None:
        empty = [""] * len(RESERVATION_COLUMNS)
        return [[place, name, "", "", answer.error or "", *empty] for name in answer.tasks]
    return [
        [
            place,
            name,
            "|".join(found.decision),
            json.dumps(_name_probabilities(found), ensure_ascii=False),
            "",
            *list_reservations(found),
        ]
        for name, found in answer.answers.items()
    ]


def _describe_routed(answer: "RoutedPrediction") -> dict[str, Any]:
    record: dict[str, Any] = {"file": spell_location(answer.location)}
    if answer.answers is None:
        return record | {"tasks": list(answer.tasks), "error": answer.error}
    return record | {
        "answers": {
            name: {
                "decision": "|".join(found.decision),
                "probabilities": _name_probabilities(found),
                **describe_reservations(found),
            }
            for name, found in answer.answers.items()
        }
    }


def _is_reserved(answer: "RoutedPrediction") -> bool:
    return any(found.abstain for found in (answer.answers or {}).values())


def _name_probabilities(answer: Any) -> dict[str, float]:
    return dict(zip(answer.classes, answer.probabilities, strict=True))


def _write_all(
    answers: Iterable[Any], write: Any, total: int | None, is_reserved: Callable[[Any], bool]
) -> tuple[int, int, int]:
    """Write answers as they come, with progress.

    Returns:
        Images that were answered, images that could not be, and images of which `is_reserved`
        says that an answer should not be used.
    """
    n_good = n_bad = n_reserved = 0
    with show_progress() as progress:
        for answer in answers:
            write(answer)
            n_bad += answer.error is not None
            n_good += answer.error is None
            n_reserved += is_reserved(answer)
            progress("predicting", n_good + n_bad, total or n_good + n_bad + 1)
    return n_good, n_bad, n_reserved


def _report(n_good: int, n_bad: int, n_reserved: int) -> None:
    from medlora.errors import DataError

    if n_reserved:
        warn([f"{n_reserved} of {n_good} image(s) should not be decided so; 'abstain' says why."])
    if n_bad:
        warn([f"{n_bad} image(s) could not be read."])
    if not n_good + n_bad:
        raise DataError("There is no image to predict: standard input names none.")
    if not n_good:
        raise DataError("No image could be read; each answer says why.")
