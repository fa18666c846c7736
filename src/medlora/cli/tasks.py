"""`medlora tasks`: what can be done with task files once they are trained."""

import typer

from medlora.cli import show

app = typer.Typer(help="Task files: list, verify, compare and rename them.", no_args_is_help=True)
app.command("show")(show.show_task)
