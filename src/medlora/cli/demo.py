"""`medlora demo`: the whole way on synthetic images, with no network and no GPU."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from medlora.cli.options import SeedOption

N_PER_CLASS = 120
# The later stages alone: nothing is differentiated below them, which halves the time of a step.
TARGETS = "blocks.[3456].*.conv_pw,blocks.[3456].*.conv_pwl"


def run_demo(
    folder: Annotated[
        Path, typer.Option("--output", "-o", help="Where to write; missing or empty.")
    ] = Path("demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 7,
    per_class: Annotated[int, typer.Option(min=20, help="Images a class.")] = N_PER_CLASS,
    seed: SeedOption = 0,
) -> None:
    """Draw synthetic images, train, evaluate and predict on them, and say where the report is."""
    from medlora.errors import SettingsError

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(
            f"The folder {folder} is a file or not empty. Remove it, or choose another with "
            "--output."
        )
    images, run = folder / "phantoms", folder / "run"
    drawn = ["--per-class", str(per_class), "--seed", str(seed), "--layout", "split"]
    _step("phantoms", str(images), *drawn)
    note = "Synthetic phantoms: for trying the tool out, of no use for any patient."
    _step(
        *("train", str(images), "--output", str(run), "--name", "phantom-demo", "--note", note),
        *("--epochs", str(epochs), "--seed", str(seed), "--flip-horizontal", "--rotation", "10"),
        *("--targets", TARGETS, "--learning-rate", "0.003"),
        *("--shift", "0.05", "--scale", "0.1"),
    )
    task = run / "task.safetensors"
    _step("evaluate", str(task), str(images), "--json", str(folder / "scores.json"))
    examples = [str(next(iter(sorted(kind.iterdir())))) for kind in _list_kinds(images)][:3]
    _step("predict", str(task), *examples)
    typer.secho("\nDone. The report, to open in a browser:", bold=True)
    typer.echo(f"  {(run / 'report.html').resolve()}")
    typer.secho("Your own images, one folder for each class:", bold=True)
    typer.echo("  medlora train YOUR_FOLDER --output runs/yours")


def _list_kinds(images: Path) -> list[Path]:
    return sorted(path for path in (images / "Testing").iterdir() if path.is_dir())


def _step(*arguments: str) -> None:
    """Run a subcommand as a user would, and stop where it stops."""
    typer.secho(f"\n$ medlora {shlex.join(arguments)}", fg="cyan")
    command = [sys.executable, "-m", "medlora.cli.main", *arguments]
    done = subprocess.run(command, check=False)  # noqa: S603
    if done.returncode:
        raise typer.Exit(done.returncode)
