"""A published experiment on the terminal: run what is missing, then keep what was found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from medlora.cli.options import open_cache
from medlora.cli.outcome import EXIT_STOPPED
from medlora.cli.terminal import StopSignal, show_progress


def complete_experiment(
    run: Callable[..., bool],
    read: Callable[[], dict[str, Any]],
    path: Path,
    *,
    cache_dir: Path | None,
    cache_size: float,
) -> dict[str, Any]:
    """Run an experiment to its end, and write what it found as JSON.

    Args:
        run: Does what is missing, with a cache, progress and a wish to stop; says whether all of
            it is finished.
        read: Gives what the finished runs found.
        path: Where that is written.
        cache_dir: Folder of decoded images.
        cache_size: Its bound in GB.

    Raises:
        Exit: It was stopped.
    """
    from medlora.runs.folder import write_json

    with show_progress() as progress:
        finished = run(
            cache=open_cache(cache_dir, cache_size), progress=progress, should_stop=StopSignal()
        )
    if not finished:
        typer.echo("stopped; the same command goes on.", err=True)
        raise typer.Exit(EXIT_STOPPED)
    result = read()
    write_json(path, result)
    return result
