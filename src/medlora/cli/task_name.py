"""`medlora tasks rename`: another name for a task, and nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from medlora.cli.options import OneTaskArgument


def rename_task(
    task: OneTaskArgument,
    new_name: Annotated[str, typer.Argument(help="The new name: one line, 200 characters.")],
    out: Annotated[
        Path | None, typer.Option(help="Write a new file here, and leave the task file as it is.")
    ] = None,
) -> None:
    """Change the name in a task file's card; its file is replaced in one move.

    Tensors stay as they are, to the bit. The file's digest, which covers the card, is another.
    """
    from medlora.errors import SettingsError
    from medlora.task.catalogue import spell_path
    from medlora.task.file import Task, load_task, save_task

    loaded = load_task(task)
    renamed = Task(replace(loaded.card, name=new_name), loaded.tensors)
    if out is not None and out.exists():
        raise SettingsError(f"--out {out} is there already. Choose another name for the file.")
    # A link stays a link, to a file that has changed.
    save_task(out or task.resolve(), renamed)
    place = spell_path(str(out or task))
    typer.echo(f"{place}: {loaded.card.name!r} is now called {new_name!r}")
