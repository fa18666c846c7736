"""`medlora explain`: where in an image a task's answer comes from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medlora.cli.answer_files import describe_reservations, spell_location
from medlora.cli.image_list import STANDARD_INPUT, list_cases, list_images
from medlora.cli.options import DeviceOption, PrecisionOption, TaskArgument, WeightsOption
from medlora.cli.terminal import show_progress, warn

if TYPE_CHECKING:
    from medlora.runs.explaining import Explanation

_PICTURE = ".png"
_ARRAY = ".npy"


def explain_answers(
    task: TaskArgument,
    images: Annotated[
        list[str],
        typer.Argument(help="Image files and folders; for a task of several series, a manifest."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="A .png file; for several images, a folder."),
    ],
    class_name: Annotated[
        str | None,
        typer.Option("--class", help="Explain this class, not the one that is decided for."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="auto, grad-cam (networks of convolutions, Swin), attention (vision "
            "transformers) or integrated-gradients."
        ),
    ] = "auto",
    array: Annotated[
        Path | None,
        typer.Option(help="Also the map's values: a .npy file; for several images, a folder."),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write what is printed here, and whether to use the answer."),
    ] = None,
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
) -> None:
    """Draw what in an image speaks for a class: the image, a heat map, and both together.

    The map lies over the image as it was decoded, whatever was cut off or resized for the network.
    It says where the network looked, not whether it was right to. Where the task abstains, line
    and picture say why.
    """
    from medlora.errors import SettingsError
    from medlora.runs.explaining import explain_images
    from medlora.runs.folder import write_json
    from medlora.runs.opened import open_task

    if STANDARD_INPUT in images:
        raise SettingsError("medlora explain takes files and folders, not a list on -.")
    opened = open_task(
        task,
        weights=weights,
        device=device,
        precision=precision,  # type: ignore[arg-type]  # checked where it is used
    )
    channels = opened.card.preprocessing.channels
    source, locations, total = list_cases(images, channels) if channels else list_images(images)
    places = list(locations)
    pictures = _name_files(places, output, _PICTURE, "--output")
    arrays = _name_files(places, array, _ARRAY, "--array") if array else [None] * len(places)
    explained = explain_images(
        opened,
        source,
        places,
        class_name=class_name,
        method=method,  # type: ignore[arg-type]  # checked where it is used
    )
    records = []
    with show_progress() as progress:
        found = zip(pictures, arrays, explained, strict=True)
        for number, (picture, values, explanation) in enumerate(found, start=1):
            _write(explanation, picture, values)
            records.append(_describe(explanation))
            progress("explaining", number, total or len(places))
    if json_file is not None:
        write_json(json_file, records)


def _write(explanation: "Explanation", picture: Path, values: Path | None) -> None:
    from io import BytesIO

    import numpy as np

    from medlora.report.heat_map import draw_panels
    from medlora.storage import write_atomically

    name = f"{explanation.class_name}: {explanation.probability:.3f}"
    abstain = explanation.reservation.abstain
    title, caution = f"{name} ({explanation.method})", f"abstain: {abstain}" if abstain else ""
    write_atomically(
        picture, draw_panels(explanation.picture, explanation.heat_map, title, caution)
    )
    if values is not None:
        stream = BytesIO()
        np.save(stream, explanation.heat_map, allow_pickle=False)
        write_atomically(values, stream.getvalue())
    line = f"{spell_location(explanation.location)}: {name}, by {explanation.method}"
    typer.echo(f"{line}; {caution}" if caution else line)
    if not explanation.heat_map.any():
        warn([f"nothing in {picture.name} speaks for {explanation.class_name}: the map is empty."])


def _describe(explanation: "Explanation") -> dict[str, Any]:
    """An explanation as a JSON object, without the map."""
    return {
        "file": spell_location(explanation.location),
        "class": explanation.class_name,
        "probability": explanation.probability,
        "decision": explanation.decision,
        "method": explanation.method,
        **describe_reservations(explanation.reservation),
    }


def _name_files(places: list[str], output: Path, suffix: str, option: str) -> list[Path]:
    """A file for each image: the one that was named, or one in the folder that was."""
    from medlora.errors import SettingsError

    is_file = output.suffix.lower() == suffix and not output.is_dir()
    if is_file and len(places) > 1:
        raise SettingsError(
            f"{option} names one file, {output}, for {len(places)} images. Name a folder."
        )
    if is_file:
        return [output]
    if output.suffix and not output.is_dir() and len(places) == 1:
        raise SettingsError(f"{option} must end in {suffix}, or be a folder, not {output.name}.")
    width = len(str(len(places)))
    names = [f"{number:0{width}d}-{_read_stem(place)}" for number, place in enumerate(places, 1)]
    return [output / f"{name}{suffix}" for name in names]


def _read_stem(place: str) -> str:
    """An image's name without folders and extension; a frame's number stays."""
    from medlora.data.source import split_frame

    path, frame = split_frame(spell_location(place).partition("|")[0])
    stem = Path(path).stem
    return stem if frame is None else f"{stem}-frame-{frame}"
