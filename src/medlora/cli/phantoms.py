"""`medlora phantoms`: synthetic images to try everything on."""

from pathlib import Path
from typing import Annotated

import typer


def draw_phantoms(
    folder: Annotated[Path, typer.Argument(help="Where to write; missing or empty.")],
    n_per_class: Annotated[int, typer.Option("--per-class", min=1, help="Images a class.")] = 120,
    seed: Annotated[int, typer.Option(help="Seed of the drawing.")] = 0,
    layout: Annotated[str, typer.Option(help="folders, or split (Training, Testing).")] = "folders",
) -> None:
    """Draw synthetic brain-slice phantoms of four classes; they show no real patient."""
    from medlora.data.phantoms import write_phantoms
    from medlora.errors import SettingsError

    if layout not in ("folders", "split"):
        raise SettingsError(f"--layout must be folders or split, not {layout!r}.")
    write_phantoms(folder, n_per_class, seed, layout)  # type: ignore[arg-type]
    typer.echo(f"{4 * n_per_class} synthetic images in {folder}")
