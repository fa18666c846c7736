"""`medlora tasks list`: the task files of a folder at a glance."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medlora.cli.options import JsonFlag
from medlora.cli.terminal import open_console, warn

if TYPE_CHECKING:
    from medlora.task.catalogue import Catalogue
    from medlora.task.heading import TaskHeading

FolderArgument = Annotated[Path, typer.Argument(help="Folder of task files, at any depth.")]

N_SHOWN_CLASSES = 6
N_SHOWN_DIGITS = 6


def list_tasks(
    folder: FolderArgument,
    as_json: JsonFlag = False,
    backbone: Annotated[
        str | None, typer.Option(help="Only tasks on this backbone, by its timm name.")
    ] = None,
) -> None:
    """List the task files of a folder and of the folders below it.

    Only the head of each file is read: whether its tensors are whole is what `verify` says.
    Files that are no task files are named on standard error. The exit code is 0 where at least
    one task can be listed, and 2 where none can.
    """
    from medlora.task.catalogue import read_catalogue

    catalogue = read_catalogue(folder)
    warn([*catalogue.refused.values(), *_describe_namesakes(catalogue)])
    chosen = _choose(catalogue, backbone)
    if as_json:
        content = {
            "folder": str(folder),
            "tasks": [_describe(file, heading) for file, heading in chosen.items()],
            "refused": catalogue.refused,
        }
        typer.echo(json.dumps(content, indent=1, ensure_ascii=False))
    else:
        _print_table(chosen)


def _choose(catalogue: "Catalogue", backbone: str | None) -> dict[str, "TaskHeading"]:
    """The tasks to show; there is one at least."""
    from medlora.errors import TaskFileError

    headings = catalogue.headings
    if not headings:
        which = f"none of {len(catalogue.refused)} can be read" if catalogue.refused else "none"
        raise TaskFileError(
            f"{catalogue.folder} holds no task file ({which}). Give a folder with files that "
            "'medlora train' wrote."
        )
    if backbone is None:
        return headings
    chosen = {
        f: heading for f, heading in headings.items() if heading.card.backbone.name == backbone
    }
    if not chosen:
        others = ", ".join(sorted({item.card.backbone.name for item in headings.values()}))
        raise TaskFileError(
            f"{catalogue.folder} holds no task on the backbone {backbone!r}; its "
            f"{len(headings)} task(s) are on {others}. Check --backbone."
        )
    return chosen


def _describe_namesakes(catalogue: "Catalogue") -> list[str]:
    return [
        f"{len(files)} files hold a task called {name!r}: {', '.join(files)}. They cannot be "
        "served together; give all but one another name with 'medlora tasks rename'."
        for name, files in catalogue.find_namesakes().items()
    ]


def _describe(file: str, heading: "TaskHeading") -> dict[str, Any]:
    from medlora.task.headline import find_headline

    card = heading.card
    headline = find_headline(card)
    low_rank = card.adapter or card.factorised
    return {
        "name": card.name,
        "file": file,
        "classes": list(card.classes),
        "multi_label": card.multi_label,
        "method": card.method,
        "rank": low_rank.rank if low_rank else None,
        "backbone": card.backbone.to_dict(),
        "n_bytes": heading.n_bytes,
        "score": vars(headline) if headline else None,
        "created": card.created,
        "sha256": heading.sha256,
    }


def _print_table(headings: dict[str, "TaskHeading"]) -> None:
    from rich.table import Table
    from rich.text import Text

    # What is long stands in one column, one below the other: a row each would not fit beside
    # the rest into 80 columns.
    table = Table(box=None, padding=(0, 2, 1, 0))
    table.add_column("task, file, backbone, classes", overflow="fold")
    table.add_column("method", no_wrap=True)
    table.add_column("score", no_wrap=True)
    table.add_column("bytes, created", justify="right", no_wrap=True)
    for file, heading in headings.items():
        task = _describe(file, heading)
        name, fingerprint = task["backbone"].values()
        table.add_row(
            Text.assemble(
                (task["name"], "bold"),
                ("\n" + file, "dim"),
                f"\n{name}@{fingerprint[:N_SHOWN_DIGITS]}\n",
                _shorten_classes(task["classes"], task["multi_label"]),
            ),
            task["method"] + (f"\nrank {task['rank']}" if task["rank"] else ""),
            _format_score(task["score"]),
            f"{task['n_bytes']:,}\n{task['created'][:10]}",
        )
    open_console().print(table, highlight=False)


def _shorten_classes(classes: list[str], multi_label: bool) -> str:
    shown = classes if len(classes) <= N_SHOWN_CLASSES else classes[: N_SHOWN_CLASSES - 1]
    rest = f" and {len(classes) - len(shown)} more" if len(shown) < len(classes) else ""
    kind = "labels" if multi_label else "classes"
    return f"{len(classes)} {kind}: {', '.join(shown)}{rest}"


def _format_score(score: dict[str, Any] | None) -> str:
    if score is None:
        return ""
    title = f"{score['split']} {score['measure']}".replace("_", " ")
    lines = [title, f"{score['value']:.3f}"]
    if score["low"] is not None:
        lines.append(f"{score['low']:.3f} to {score['high']:.3f}")
    return "\n".join(lines)
