"""`medlora report`: a finished run's report, model card and checklists, made again."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """What can be made."""

    html = "html"
    md = "md"
    card = "card"
    checklists = "checklists"


def rebuild_report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write into; the run's own if not given."),
    ] = None,
    formats: Annotated[
        list[Format] | None,
        typer.Option(
            "--format",
            help="html: the page; md: the same as Markdown, with a folder of figures; card: the "
            "model card; checklists: CLAIM and TRIPOD+AI. May be given several times; all four "
            "if not given.",
        ),
    ] = None,
) -> None:
    """Make a run's report again from what it has stored: no images, no network, no training."""
    from typing import get_args

    from medlora.runs.report_files import ReportFormat, read_report, write_formats

    content = read_report(run)
    wanted: list[ReportFormat] = [
        name for name in get_args(ReportFormat) if not formats or name in formats
    ]
    for path in write_formats(output or run, content, wanted):
        typer.echo(path)
