"""`medlora tasks verify`: whether task files are whole and answer as they did when saved."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medlora.cli.options import WeightsOption
from medlora.cli.terminal import show_progress

if TYPE_CHECKING:
    from medlora.runs.verification import Verification


def verify_tasks(
    files: Annotated[
        list[Path], typer.Argument(help="Task files, and folders of them at any depth.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Write a JSON list instead.")] = False,
    weights: WeightsOption = None,
) -> None:
    """Check task files: every byte, the backbone, and the answers stored in the card.

    Each backbone is loaded once for all of its tasks. The exit code is 2 where a file fails;
    every other .safetensors file in a folder, such as a backbone's weights, fails too.
    """
    from medlora.errors import TaskFileError
    from medlora.runs.verification import verify_task_files

    paths = _list_files(files)
    # They are printed when all are done: a bar on the terminal would be broken by each line.
    with show_progress() as progress:
        found = list(verify_task_files(paths, weights=weights, progress=progress))
    order = {path: position for position, path in enumerate(paths)}
    found.sort(key=lambda result: order[result.path])
    if as_json:
        typer.echo(json.dumps([_describe(item) for item in found], indent=1, ensure_ascii=False))
    else:
        for item in found:
            typer.echo(_format_line(item))
    n_bad = sum(item.fault is not None for item in found)
    if n_bad:
        raise TaskFileError(
            f"{n_bad} of {len(found)} file(s) failed; what is said of each tells why."
        )


def _list_files(files: list[Path]) -> list[Path]:
    """Every file once, those of folders in the folder's order."""
    from medlora.errors import TaskFileError
    from medlora.task.catalogue import find_task_files

    paths: list[Path] = []
    for path in files:
        paths += find_task_files(path).values() if path.is_dir() else [path]
    if not paths:
        raise TaskFileError(
            f"{', '.join(map(str, files))}: there is no .safetensors file. Give a folder with "
            "files that 'medlora train' wrote."
        )
    return list(dict.fromkeys(paths))


def _describe(item: "Verification") -> dict[str, Any]:
    from medlora.task.catalogue import spell_path

    return {
        "file": spell_path(str(item.path)),
        "ok": item.fault is None,
        "task": item.task,
        "backbone": item.backbone.to_dict() if item.backbone else None,
        "largest_difference": item.difference,
        "fault": item.fault,
    }


def _format_line(item: "Verification") -> str:
    from medlora.task.catalogue import spell_path

    if item.fault is not None:
        return f"FAILED  {item.fault}"
    path = spell_path(str(item.path))
    if item.difference is None:
        return f"ok      {path}: its card holds no answers to repeat"
    return f"ok      {path}: answers differ by at most {item.difference:.2g}"
