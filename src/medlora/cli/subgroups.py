"""Scores of groups of patients on a terminal."""

from collections.abc import Mapping
from typing import Any

from medlora.cli.terminal import open_console, warn

_SHOWN = {
    "auroc": "AUROC",
    "recall": "sensitivity",
    "specificity": "specificity",
    "accuracy": "accuracy",
}


def print_subgroups(found: Mapping[str, Any], title: str) -> None:
    """A table of the groups of one column, and how far they lie apart, on standard output.

    Args:
        found: `SubgroupScores.to_dict`.
        title: What the table is about.
    """
    from rich.table import Table

    console = open_console()
    groups = found["groups"]
    table = Table(title=title, title_justify="left")
    table.add_column("group", overflow="fold")
    table.add_column("images", justify="right", no_wrap=True)
    names = [name for name in _SHOWN if any(name in group["measures"] for group in groups)]
    for name in names:
        table.add_column(_SHOWN[name], justify="right")
    for group in groups:
        cells = [_format(group["measures"][name]) for name in names]
        table.add_row(group["name"], str(group["n_images"]), *cells)
    console.print(table)
    for name in names:
        gap = found["gaps"].get(name)
        if gap is not None:
            console.print(
                f"{_SHOWN[name]}: {gap['largest']} above {gap['smallest']} by {gap['value']:.3f}"
                f"{_describe_reach(gap)}",
                highlight=False,
            )
    small = [
        group["name"]
        for group in groups
        if not any(each["enough"] for each in group["measures"].values())
    ]
    if small:
        warn([f"too few images to say anything of {found['column']} {', '.join(small)}."])
    if found["n_left_out"]:
        warn([f"{found['n_left_out']} image(s) have no value of {found['column']} to group by."])


def _describe_reach(gap: Mapping[str, Any]) -> str:
    if isinstance(gap["low"], str):
        return ""
    return f" (95 % interval {gap['low']:+.3f} to {gap['high']:+.3f})"


def _format(estimate: Mapping[str, Any]) -> str:
    if not estimate["enough"]:
        return "too few"
    return f"{estimate['value']:.3f}\n{estimate['low']:.3f} to {estimate['high']:.3f}"
