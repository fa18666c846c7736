"""`medlora tasks diff`: in what two task files differ."""

import json
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medlora.cli.options import JsonFlag, OneTaskArgument
from medlora.cli.terminal import open_console

if TYPE_CHECKING:
    from medlora.task.comparison import FieldDifference, TaskComparison, UpdateDifference

MAX_VALUE_LENGTH = 200
MAX_TENSORS = 8
ANSWERS = "self_check.expected"


def compare_task_files(
    first: OneTaskArgument,
    second: Annotated[Path, typer.Argument(help="Another task file.")],
    as_json: JsonFlag = False,
) -> None:
    """Compare two task files: card, tensors, and the updates that the tensors make.

    No backbone is needed. An update is the matrix that an adapter adds to a layer; two of other
    ranks can be compared. The exit code is 0 whether the files differ or not; files of one task
    are equal byte by byte, so that a script can use 'cmp'.
    """
    from medlora.task.comparison import compare_tasks
    from medlora.task.file import load_task

    found = compare_tasks(load_task(first), load_task(second))
    if as_json:
        typer.echo(json.dumps(_describe(found), indent=1, ensure_ascii=False))
    elif found.same:
        typer.echo("the same task: the files are equal byte by byte")
    else:
        _print_fields(found)
        _print_tensors(found)
        _print_updates(found.updates)


def _describe(found: "TaskComparison") -> dict[str, Any]:
    fields = []
    for item in found.fields:
        values = {"first": item.first} if item.in_first else {}
        values |= {"second": item.second} if item.in_second else {}
        fields.append({"field": item.field, **values})
    return {
        "same": found.same,
        "card": fields,
        "tensors": [
            {
                "name": item.name,
                "first": item.first,
                "second": item.second,
                "largest_difference": item.largest,
            }
            for item in found.tensors
        ],
        "n_tensors_alike": found.n_tensors_alike,
        "updates": [
            {
                "layer": item.layer,
                "first_norm": item.first,
                "second_norm": item.second,
                "difference_norm": item.difference,
                "relative_difference": item.relative,
            }
            for item in found.updates
        ],
    }


def _print_fields(found: "TaskComparison") -> None:
    from rich.table import Table

    if not found.fields:
        typer.echo("card: no difference")
        return
    table = Table(title="card", title_justify="left")
    for title in ("field", "first", "second"):
        table.add_column(title, overflow="fold")
    answers = []
    for item in found.fields:
        if item.field.startswith(f"{ANSWERS}[") and isinstance(item.first, float):
            answers.append(abs(item.first - item.second))
        else:
            table.add_row(item.field, *_show_values(item))
    if answers:
        change = f"{len(answers)} stored answers differ, by up to {max(answers):.4g}"
        table.add_row(ANSWERS, change, "")
    open_console().print(table, highlight=False)


def _show_values(item: "FieldDifference") -> tuple[str, str]:
    first, second = item.first, item.second
    if isinstance(first, float) and isinstance(second, float):
        short = f"{first:.6g}", f"{second:.6g}"
        if short[0] != short[1]:
            return short
    return (
        _shorten(first) if item.in_first else "(none)",
        _shorten(second) if item.in_second else "(none)",
    )


def _shorten(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_VALUE_LENGTH else text[: MAX_VALUE_LENGTH - 3] + "..."


def _print_tensors(found: "TaskComparison") -> None:
    typer.echo(f"tensors: {found.n_tensors_alike} are equal, {len(found.tensors)} are not")
    valued = [(item.largest, item.name) for item in found.tensors if item.largest is not None]
    if valued:
        largest, name = max(valued)
        typer.echo(f"  largest difference of a value: {largest:.4g} in {name}")
    odd = [item for item in found.tensors if item.first != item.second]
    for item in odd[:MAX_TENSORS]:
        typer.echo(f"  {item.name}: {item.first or '(none)'} / {item.second or '(none)'}")
    if len(odd) > MAX_TENSORS:
        typer.echo(f"  and {len(odd) - MAX_TENSORS} more that differ in shape or type, or that")
        typer.echo("  one of both lacks: --json names them all")


def _print_updates(updates: "tuple[UpdateDifference, ...]") -> None:
    if not updates:
        return
    if all(item.relative == 0 for item in updates):
        typer.echo(f"updates: {len(updates)} compared, all equal")
        return
    least = min(updates, key=lambda item: item.relative)
    most = max(updates, key=lambda item: item.relative)
    middle = median(item.relative for item in updates)
    typer.echo(
        f"updates: {len(updates)} compared; norm of the difference, divided by the larger norm: "
        f"median {middle:.4g}, from {least.relative:.4g} ({least.layer}) to {most.relative:.4g} "
        f"({most.layer})"
    )
