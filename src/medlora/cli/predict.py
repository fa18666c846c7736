"""`medlora predict`: answers for images, in their order."""

import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medlora.cli.terminal import (
    BatchOption,
    DeviceOption,
    PrecisionOption,
    TaskArgument,
    WeightsOption,
    show_progress,
)

if TYPE_CHECKING:
    from medlora.data.source import ImageSource
    from medlora.runs.prediction import Prediction

STANDARD_INPUT = "-"


def predict_files(
    task: TaskArgument,
    images: Annotated[
        list[str],
        typer.Argument(help="Image files and folders; - reads paths from standard input."),
    ],
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
    from medlora.errors import DataError
    from medlora.runs.opened import open_task
    from medlora.runs.prediction import predict_images
    from medlora.storage import open_atomically

    opened = open_task(
        task,
        weights=weights,
        device=device,
        precision=precision,  # type: ignore[arg-type]  # checked where it is used
    )
    source, locations, total = _list_images(images)
    classes = opened.card.classes
    n_good = n_bad = 0
    with ExitStack() as stack:
        writers: list[_Writer] = []
        if json_file is not None:
            writers.append(_JsonWriter(stack.enter_context(open_atomically(json_file)), classes))
        if csv_file is not None:
            writers.append(_CsvWriter(stack.enter_context(open_atomically(csv_file)), classes))
        if not writers:
            writers.append(_CsvWriter(sys.stdout, classes))
        progress = stack.enter_context(show_progress())
        for answer in predict_images(opened, source, locations, batch_size=batch_size):
            for writer in writers:
                writer.write(answer)
            n_bad += answer.error is not None
            n_good += answer.error is None
            progress("predicting", n_good + n_bad, total or n_good + n_bad + 1)
        for writer in writers:
            writer.close()
    if n_bad:
        typer.secho(f"warning: {n_bad} image(s) could not be read.", fg="yellow", err=True)
    if not n_good + n_bad:
        raise DataError("There is no image to predict: standard input names none.")
    if not n_good:
        raise DataError("No image could be read; each answer says why.")


def _list_images(images: list[str]) -> tuple["ImageSource", Iterator[str], int | None]:
    """Where the images are, which, and how many (None where it is not known beforehand)."""
    from medlora.data.listing import expand_frames, list_images
    from medlora.data.source import FolderSource
    from medlora.errors import SettingsError

    if STANDARD_INPUT not in images:
        source, locations = list_images([Path(image) for image in images])
        return source, iter(locations), len(locations)
    if len(images) > 1:
        raise SettingsError("- stands for all images: give no paths beside it.")
    source = FolderSource(Path())
    lines = (os.fsdecode(line).rstrip("\r\n") for line in sys.stdin.buffer)
    frames = (expand_frames(line, source) for line in lines if line)
    return source, chain.from_iterable(frames), None


def _spell(location: str) -> str:
    """A location that can be written whatever bytes a file's name holds."""
    return location.encode("utf-8", "backslashreplace").decode("utf-8")


class _CsvWriter:
    def __init__(self, stream: Any, classes: tuple[str, ...]) -> None:
        self._stream = stream
        self._n_classes = len(classes)
        self._write(["file", "decision", *[f"p_{name}" for name in classes], "error"])

    def write(self, answer: "Prediction") -> None:
        values = answer.probabilities
        cells = [f"{value:.6f}" for value in values] if values else [""] * self._n_classes
        self._write([_spell(answer.location), answer.decision or "", *cells, answer.error or ""])

    def close(self) -> None:
        self._stream.flush()

    def _write(self, cells: list[str]) -> None:
        row = io.StringIO(newline="")
        csv.writer(row, lineterminator="\n").writerow(cells)
        self._stream.write(row.getvalue())


class _JsonWriter:
    def __init__(self, stream: Any, classes: tuple[str, ...]) -> None:
        self._stream = stream
        self._classes = classes
        self._separator = "[\n"

    def write(self, answer: "Prediction") -> None:
        record: dict[str, Any] = {"file": _spell(answer.location)}
        if answer.probabilities is None:
            record["error"] = answer.error
        else:
            values = [round(value, 6) for value in answer.probabilities]
            record["decision"] = answer.decision
            record["probabilities"] = dict(zip(self._classes, values, strict=True))
        self._stream.write(self._separator + json.dumps(record, ensure_ascii=False))
        self._separator = ",\n"

    def close(self) -> None:
        self._stream.write("[]\n" if self._separator == "[\n" else "\n]\n")
        self._stream.flush()


_Writer = _CsvWriter | _JsonWriter
