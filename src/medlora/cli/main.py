"""The entry point: find the subcommand, turn errors into one line and an exit code."""

import errno
import os
import sys
import warnings
from typing import Any, NoReturn

import typer

from medlora import __version__
from medlora.allocator import keep_large_blocks
from medlora.cli import (
    audit,
    bench,
    calibrate,
    check,
    compare,
    demo,
    evaluate,
    explain,
    features,
    phantoms,
    predict,
    preview,
    report,
    reproduce,
    show,
    tasks,
    train,
    tune,
)
from medlora.errors import MedLoRAError

# Every error in how a command is called derives from this; where its class lies depends on
# the version of typer.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="medlora",
    help="Medical image diagnoses as small adapters on one frozen backbone.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("check")(check.check_data)
app.command("audit")(audit.audit_images)
app.command("preview")(preview.preview_data)
app.command("features")(features.map_data)
app.command("train")(train.train_task)
app.command("tune")(tune.tune_task)
app.command("evaluate")(evaluate.evaluate_task_file)
app.command("calibrate")(calibrate.calibrate_task)
app.command("compare")(compare.compare_runs)
app.command("report")(report.rebuild_report)
app.command("predict")(predict.predict_files)
app.command("explain")(explain.explain_answers)
app.command("show")(show.show_task)
app.command("phantoms")(phantoms.draw_phantoms)
app.command("demo")(demo.run_demo)
app.add_typer(tasks.app, name="tasks")
app.add_typer(bench.app, name="bench")
app.add_typer(reproduce.app, name="reproduce")


@app.callback(invoke_without_command=True)
def _main(
    version: bool = typer.Option(False, "--version", help="Say which version this is."),
) -> None:
    if version:
        typer.echo(f"medlora {__version__}")
        raise typer.Exit


def run() -> None:
    """Run the command line; exits with 0, or 2 for an error that the user can mend."""
    keep_large_blocks()
    # Other libraries' warnings are for those who write code, not for those who run it.
    warnings.filterwarnings("ignore", module=r"(?!medlora)")
    try:
        code = app(prog_name="medlora", standalone_mode=False)
    except MedLoRAError as error:
        _fail(str(error))
    except UsageError as error:
        _fail_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        _fail(
            f"{error.filename or 'A file'} could not be written ({error.strerror}). Free "
            "some space or choose another folder; finished files are whole."
        )
    sys.exit(code)


def _fail(sentence: str) -> NoReturn:
    """One line, from the first of several processes only: all of them meet the same error."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        typer.secho(f"error: {sentence}", fg="red", err=True)
    sys.exit(EXIT_ERROR)


def _fail_usage(error: Any) -> NoReturn:
    """A command that cannot be understood; without any word at all, the help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        sys.exit(EXIT_ERROR)
    place = error.ctx.command_path if error.ctx else app.info.name
    sentence = error.format_message().rstrip(".")
    _fail(f"{sentence}. See {place} --help.")


if __name__ == "__main__":
    run()
