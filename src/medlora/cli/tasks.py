"""`medlora tasks`: what can be done with task files once they are trained."""

import typer

from medlora.cli import exchange, show, task_difference, task_list, task_name, task_verification

app = typer.Typer(help="Task files: list, verify, compare, rename, export.", no_args_is_help=True)
app.command("list")(task_list.list_tasks)
app.command("show")(show.show_task)
app.command("verify")(task_verification.verify_tasks)
app.command("diff")(task_difference.compare_task_files)
app.command("rename")(task_name.rename_task)
app.command("export")(exchange.export_task)
app.command("import")(exchange.import_task)
app.command("merge")(exchange.merge_task)
